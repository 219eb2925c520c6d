"""How much memory this process may still take: the machine's, its control group's and its own limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import resource

PROC = Path("/proc")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Per version of control groups: limit, use, and the line of memory.stat with the cached file pages that go first.
_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(proc: Path = PROC, control_groups: Path = CONTROL_GROUPS) -> int | None:
    """Bytes that can be allocated before the machine, the control group or a limit of the process objects.

    The least of: what the system has without swapping, what each enclosing control group (versions 1 and 2) leaves,
    RLIMIT_DATA and RLIMIT_AS less what the process has. None where the system says nothing of these.
    """
    rooms = [*_of_machine(proc), *_of_control_groups(proc, control_groups), *_of_process(proc)]
    return max(0, min(rooms)) if rooms else None


def _of_machine(proc: Path) -> Iterator[int]:
    available = _kilobytes(proc / "meminfo").get("MemAvailable")
    if available is not None:
        yield available
    elif "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _of_control_groups(proc: Path, root: Path) -> Iterator[int]:
    """One number for each group with a limit, from the process's own up to the root."""
    for line in _text(proc / "self" / "cgroup").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0":
            base, names = root, _V2
        elif "memory" in controllers.split(","):
            base, names = root / "memory", _V1
        else:
            continue
        # In a container the path may be the host's and not exist; the groups above it still count.
        own = base / path.lstrip("/")
        for group in (own, *own.parents):
            limit, used = (_text(group / name).strip() for name in names[:2])
            if limit.isdigit() and used.isdigit():
                yield int(limit) - int(used) + _statistics(group / "memory.stat").get(names[2], 0)
            if group == base:
                break


def _of_process(proc: Path) -> Iterator[int]:
    if sys.platform == "win32":
        return
    has = _kilobytes(proc / "self" / "status")
    for limit, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            yield most - has.get(name, 0)


def _kilobytes(path: Path) -> dict[str, int]:
    """Lines such as "MemAvailable:  123 kB", in bytes."""
    fields = (line.split() for line in _text(path).splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in fields if len(words) == 3 and words[2] == "kB"}


def _statistics(path: Path) -> dict[str, int]:
    fields = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in fields if len(words) == 2 and words[1].isdigit()}


def _text(path: Path) -> str:
    """A file's text; empty where there is none, since which of these files exist depends on the system."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
