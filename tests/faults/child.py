"""What a forked child does: becomes the command that was asked for, with the faults that were asked for."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import clocks
from layer import Fault, Layer

DIM = 32
SIZE = 32


class Request(TypedDict, total=False):
    """program: "comix", with `words` as typed, or "read", which opens the cache words[0] until it is stopped.

    folder: where the command is typed. out, err: files for what it prints. marks: file that says how far it has come.
    group: of processes, another child's pid. pace: seconds to sleep at each operation on files and at each batch.
    at, act, error, half, lasting: see layer.Fault. ops: a file for the list of operations. clock: seed of a clock that
    jumps. limits: of memory beyond what is in use, of open files, of a file's size. env: variables; None removes one.
    sabotage: a mistake in the code under test, see `broken`. brief: without the interpreter's own ending, which takes
    a while; threads that it would wait for are waited for.
    """

    program: str
    words: list[str]
    folder: str
    out: str
    err: str
    marks: str
    group: int
    pace: float
    at: int
    act: str
    error: str
    half: bool
    lasting: bool
    ops: str
    clock: int
    limits: dict[str, int]
    env: dict[str, str | None]
    sabotage: str
    brief: bool


def live(request: Request) -> None:
    """The rest of the child's life. Ends as the command does."""
    for path, descriptor in (("/dev/null", 0), (request["out"], 1), (request["err"], 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    os.chdir(request["folder"])
    for name, value in request.get("env", {}).items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    fault = Fault(
        request.get("at", 0),
        request.get("act", ""),
        request.get("error", "EIO"),
        request.get("half", False),
        request.get("lasting", False),
    )
    layer = Layer(fault, request["marks"], request.get("ops"), request.get("pace", 0.0))
    stand_in(layer)
    if "sabotage" in request:
        broken(request["sabotage"])
    if "clock" in request:
        clocks.jump(request["clock"])
    layer.install()
    limit(request.get("limits", {}))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    code: object = 0
    try:
        layer.mark("main")
        PROGRAMS[request["program"]](request["words"])
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    layer.mark("left")
    if not request.get("brief"):
        sys.exit(code)  # type: ignore[arg-type]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))  # type: ignore[call-overload]


def limit(limits: Mapping[str, int]) -> None:
    """Sets the child's limits; memory counts from what it has, as torch alone takes gigabytes of addresses."""
    for name, value in limits.items():
        most = value
        if name == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = value + pages * resource.getpagesize()
        which = {"memory": resource.RLIMIT_AS, "files": resource.RLIMIT_NOFILE, "size": resource.RLIMIT_FSIZE}[name]
        resource.setrlimit(which, (most, resource.getrlimit(which)[1]))


def stand_in(layer: Layer) -> None:
    """Puts a backbone of no weights behind the command line: four pixels of each frame, channels averaged.

    Frames are resized to 32 × 32, so that a cache is made in a moment.
    """
    from torch import Tensor, nn

    from comix_fast.commands import extract
    from comix_fast.config import ExtractRecipe

    class FourPixels(nn.Module):
        name, weights_name, precision = "four-pixels", "none", "fp32"
        warning, precision_note, feature_dim, compiled = "", "", DIM, False

        def recipe(self) -> dict[str, Any]:
            return {"name": self.name, "weights": "none", "weights_sha256": "0" * 64, "precision": "fp32"}

        def forward(self, clips: Tensor) -> Tensor:
            layer.at_work("compute")
            return clips[:, :, :, 7::16, 7::16].mean(dim=1).flatten(1)

    extract.load_backbone = lambda *_, **__: FourPixels()
    extract.ExtractRecipe = partial(ExtractRecipe, size=SIZE)


def broken(sabotage: str) -> None:
    """Breaks the code under test, to see that the harness notices.

    in-place: files are written where they belong, not beside and then moved. drifting: features depend on the moment.
    forgetful: an extract begins by deleting a shard. cursing: an error without words. deaf: two writers at once.
    """
    import comix_fast.files as files
    from comix_fast.commands import extract

    @contextmanager
    def in_place(path: Path, *_: Any, **__: Any) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path

    @contextmanager
    def unlocked(*_: Any, **__: Any) -> Iterator[int]:
        yield 0

    if sabotage in ("in-place", "deaf"):
        name, instead = ("whole_file", in_place) if sabotage == "in-place" else ("held_lock", unlocked)
        sound = getattr(files, name)
        for module in list(sys.modules.values()):
            if vars(module).get(name) is sound:
                setattr(module, name, instead)
    elif sabotage == "drifting":
        backbone, moment = extract.load_backbone(), os.getpid() / 2**22
        extract.load_backbone = lambda *_, **__: _Drifting(backbone, moment)
    else:
        run = extract.run_with

        def worse(*words: Any, **options: Any) -> Any:
            if sabotage == "cursing":
                raise RuntimeError("an error without words")
            for shard in sorted((options.get("out") or words[3]).glob("shards/*.h5"))[:1]:
                shard.unlink()
            return run(*words, **options)

        extract.run_with = worse


class _Drifting:
    """A backbone whose features depend on the process."""

    def __init__(self, backbone: Any, moment: float) -> None:
        self._backbone, self._moment = backbone, moment

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def __call__(self, clips: Any) -> Any:
        return self._backbone(clips) + self._moment


def comix(words: list[str]) -> None:
    """The command line, as typed."""
    from comix_fast.cli import main

    main(words)


def read(words: list[str]) -> None:
    """Opens a cache over and over until words[1] appears; prints how often it opened, and how often it was refused.

    All errors but CacheError are for the traceback.
    """
    from comix_fast.cache import FeatureCache
    from comix_fast.errors import CacheError

    opened = refused = 0
    held: frozenset[str] = frozenset()
    while not Path(words[1]).exists():
        try:
            cache = FeatureCache(words[0])
            cache.summary()
            for video in cache.extracted:
                cache.features(video)
        except CacheError as error:
            if held:
                raise
            refused += 1
            if "holds no feature cache" not in error.message:
                raise
        else:
            opened += 1
            if not held <= cache.extracted:
                raise RuntimeError("a cache that was open a moment ago has fewer videos")
            held = cache.extracted
    print(opened, refused)


PROGRAMS = {"comix": comix, "read": read}
