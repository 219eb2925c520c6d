"""How far work runs ahead of whoever takes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from comix_fast.stages.pipeline_ahead import Ahead, Check


@pytest.mark.parametrize(("ahead", "expected"), [(0, 3), (6, 7)])
def test_as_many_jobs_are_done_before_any_is_asked_for(ahead: int, expected: int) -> None:
    done: list[int] = []
    reached = threading.Event()

    def produce(job: int, check: Check) -> Iterator[int]:
        done.append(job)
        if len(done) == expected - 1:
            reached.set()
        yield job

    # One thread, and room for two of its jobs (or `ahead`): one more is taken, and waits for its place.
    with Ahead(iter(range(20)), produce, threads=1, held=1, ahead=ahead) as working:
        assert reached.wait(20)
        assert len(done) <= expected
        assert [list(items) for _, items in working] == [[number] for number in range(20)]
