"""A connection to Ray: to the cluster that is named, or to one of this machine's own that ends with it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.errors import ComixError

OBJECT_STORE_BYTES = 100_000_000
"""Of a local Ray. Paths and ids alone go there, some hundred bytes a video; what has no room goes to disk."""

LONGEST_TMP = 24
"""Characters of a folder for temporary files under which Ray's sockets can lie: their names may have 107 in all."""

_COLOURS = re.compile("\x1b\\[[0-9;]*m")

TOO_QUIET = logging.CRITICAL + 1


@dataclass(frozen=True)
class Node:
    """What a node has to give."""

    cpus: int
    gpus: int


def import_ray() -> Any:
    """Ray, with its part for tables. Raises ComixError if it is not installed."""
    try:
        with warnings.catch_warnings():
            # Of Ray's about itself.
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError as error:
        raise ComixError(
            f"--engine ray needs Ray, which can't be imported: {error}",
            hint='install it with: pip install "comix-fast[scale]"; --workers N needs nothing',
        ) from error
    return ray


@contextlib.contextmanager
def connected(address: str | None, local_cpus: int, debug: bool = False) -> Iterator[Any]:
    """Ray, connected; as it was when the block ends.

    address: of a running cluster; None: RAY_ADDRESS, which `ray job submit` sets, or else a cluster of local_cpus CPUs
        (as Ray counts them) on this machine, which is ended when the block ends, its folder removed. A process that
        is connected already stays so.
    debug: Ray's logs go to stderr, where otherwise it is silent.
    Raises ComixError if Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    with contextlib.ExitStack() as held:
        if not ray.is_initialized():
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            if address.startswith("ray://"):
                raise ComixError(
                    f"{address} is for clients outside a cluster, and the cache's lock must be held inside it",
                    hint="run the command on a node of the cluster: ray job submit --address … -- comix extract …",
                )
            held.enter_context(_quiet(debug))
            held.enter_context(_sigterm_kept())
            options: dict[str, Any] = {"address": address, "log_to_driver": debug, "configure_logging": debug}
            if address == "local":
                folder = held.enter_context(_session_folder())
                _keep_strangers_out()
                # Workers look for modules where this process does.
                path = os.pathsep.join(os.path.abspath(one) for one in sys.path)  # noqa: PTH100 - an empty one is here
                held.enter_context(_environment({"PYTHONPATH": path}))
                options |= {
                    "num_cpus": local_cpus,
                    "object_store_memory": OBJECT_STORE_BYTES,
                    "include_dashboard": False,
                    "_temp_dir": str(folder),
                }
            held.callback(ray.shutdown)
            _start(ray, options, debug)
        yield ray


def nodes(ray: Any) -> list[Node]:
    """The nodes that are alive and can compute."""
    given = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    found = [Node(int(one.get("CPU", 0)), int(one.get("GPU", 0))) for one in given]
    return [node for node in found if node.cpus]


def last_line(error: BaseException) -> str:
    """What an error of Ray's comes down to: it ends with the cause, after much else, in colours."""
    lines = _COLOURS.sub("", str(error)).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _start(ray: Any, options: dict[str, Any], debug: bool) -> None:
    where = options["address"]
    try:
        with contextlib.nullcontext() if debug else _deaf(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
        _end_well_at_sigterm()
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        said = last_line(error)
        if where == "local":
            raise ComixError(f"Ray does not start here: {said}", hint="--workers N needs no Ray") from error
        why = str(error.__cause__ or "").split(". ", 1)[0]
        raise ComixError(
            f"no Ray cluster takes us at {where}: {said}",
            [why] if why else [],
            hint="see `ray status` there; RAY_AUTH_MODE and Ray's version must be those of the cluster",
        ) from error


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; when the block ends it is again as it was."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _end_well_at_sigterm() -> None:
    """Has SIGTERM unwind this process, so that its Ray ends with it; Ray's own way says so in addresses of memory."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def _session_folder() -> Iterator[Path]:
    """Where a local Ray keeps logs and sockets."""
    usual = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="comix-", dir=usual if len(usual) <= LONGEST_TMP else "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _keep_strangers_out() -> None:
    """Gives a local Ray its token: its ports run what they are told, and other users of the machine reach them.

    Left to itself Ray would keep one in the home folder. It stays this process's for as long as that lives, since Ray
    remembers it; whether it is asked for at all stays as RAY_AUTH_MODE says.
    """
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


@contextlib.contextmanager
def _quiet(debug: bool) -> Iterator[None]:
    """Keeps Ray's reports to its makers off, and its logs unless asked for."""
    unsaid = {"RAY_USAGE_STATS_ENABLED": "0"} | ({} if debug else {"RAY_BACKEND_LOG_LEVEL": "fatal"})
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    levels = [logger.level for logger in loggers]
    with contextlib.ExitStack() as held:
        held.enter_context(_environment({name: value for name, value in unsaid.items() if name not in os.environ}))
        for logger, level in zip(loggers, levels, strict=True):
            if not debug:
                held.callback(logger.setLevel, level)
                logger.setLevel(TOO_QUIET)
        # Ray tells of workers that die on stdout, which is for results.
        nowhere = sys.stderr if debug else held.enter_context(Path(os.devnull).open("w"))
        held.enter_context(contextlib.redirect_stdout(nowhere))
        yield


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Nothing written to the process's stderr is seen, by C++ either. For the moment in which Ray starts."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
