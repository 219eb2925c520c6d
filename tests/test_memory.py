"""Memory that is left: the least of what the machine, the control groups and the process's limits leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from comix_fast import memory
from comix_fast.memory import available_memory

MB = 1 << 20


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /proc and /sys/fs/cgroup of a machine with 8,000 MB left and no limits."""
    limits: dict[int, int] = {}
    monkeypatch.setattr(
        memory.resource, "getrlimit", lambda which: (limits.get(which, memory.resource.RLIM_INFINITY), 0)
    )
    write(tmp_path / "proc/meminfo", f"MemTotal: {16_000 * 1024} kB\nMemAvailable: {8_000 * 1024} kB\nHugePages: 0\n")
    write(tmp_path / "proc/self/status", f"Name:\tpython x\nVmSize:\t{3_000 * 1024} kB\nVmData:\t{500 * 1024} kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(system: Path) -> float:
    n_bytes = available_memory(system / "proc", system / "groups")
    assert n_bytes is not None
    return n_bytes / MB


def limit_process(monkeypatch: pytest.MonkeyPatch, which: int, megabytes: int) -> None:
    unlimited = (memory.resource.RLIM_INFINITY, 0)
    monkeypatch.setattr(memory.resource, "getrlimit", lambda w: (megabytes * MB, 0) if w == which else unlimited)


def test_without_limits_it_is_what_the_machine_has(system: Path) -> None:
    assert found(system) == 8_000


def test_every_enclosing_group_counts(system: Path) -> None:
    write(system / "proc/self/cgroup", "0::/jobs/mine\n")
    mine, jobs = system / "groups/jobs/mine", system / "groups/jobs"
    write(mine / "memory.max", "max\n")
    write(mine / "memory.current", f"{100 * MB}\n")
    assert found(system) == 8_000
    write(jobs / "memory.max", f"{2_000 * MB}\n")
    write(jobs / "memory.current", f"{1_500 * MB}\n")
    write(jobs / "memory.stat", f"anon 12\ninactive_file {300 * MB}\n")
    assert found(system) == 2_000 - 1_500 + 300


def test_the_first_version_of_groups_is_read_too(system: Path) -> None:
    write(system / "proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc:def\n0::/\n")
    own = system / "groups/memory/docker/abc:def"
    write(own / "memory.limit_in_bytes", f"{900 * MB}\n")
    write(own / "memory.usage_in_bytes", f"{400 * MB}\n")
    write(own / "memory.stat", f"inactive_file 1\ntotal_inactive_file {50 * MB}\n")
    assert found(system) == 550


def test_in_a_container_the_path_may_be_the_hosts(system: Path) -> None:
    write(system / "proc/self/cgroup", "4:memory:/host/only\n")
    write(system / "groups/memory/memory.limit_in_bytes", f"{700 * MB}\n")
    write(system / "groups/memory/memory.usage_in_bytes", f"{100 * MB}\n")
    assert found(system) == 600


@pytest.mark.parametrize(("name", "used"), [("RLIMIT_DATA", 500), ("RLIMIT_AS", 3_000)])
def test_limits_of_the_process_count(system: Path, monkeypatch: pytest.MonkeyPatch, name: str, used: int) -> None:
    limit_process(monkeypatch, getattr(memory.resource, name), 3_200)
    assert found(system) == 3_200 - used
    limit_process(monkeypatch, getattr(memory.resource, name), 100)
    assert found(system) == 0


def test_a_system_that_says_nothing_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.os, "sysconf_names", {})
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (memory.resource.RLIM_INFINITY, 0))
    assert available_memory(tmp_path, tmp_path) is None


def test_this_machine_has_some() -> None:
    n_bytes = available_memory()
    assert n_bytes is None or n_bytes > MB
