"""Threads that are started together, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from comix_fast.errors import ComixError


def threads_of(work: Callable[[], None], name: str, count: int) -> list[threading.Thread]:
    """`count` threads, not yet started.

    They are daemons: Ctrl-C may fall between the start of one and the block that would end it, and an interpreter that
    waits for a thread which nobody will wake never ends.
    """
    return [threading.Thread(target=work, name=f"{name}-{number}", daemon=True) for number in range(count)]


def start_all(threads: Sequence[threading.Thread], stop: Callable[[], None]) -> None:
    """Starts them; if that is cut short, `stop` ends those that run. Raises ComixError where no more may be started."""
    try:
        for thread in threads:
            thread.start()
    except RuntimeError as error:
        stop()
        raise ComixError(
            f"only {threading.active_count()} threads can be started here ({error})",
            hint="there is too little memory, or see ulimit -u and ulimit -v; --threads 1 needs the fewest",
        ) from error
    except BaseException:
        stop()
        raise


def join_all(threads: Sequence[threading.Thread]) -> None:
    """Waits for those that were started."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()
