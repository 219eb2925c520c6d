"""Stopping between two iterations: asked to, or because the time given is over."""

from __future__ import annotations

import threading
import time


class Stop:
    """Whether training is to stop at the next iteration. Threads share it."""

    def __init__(self, minutes: float | None = None) -> None:
        """minutes: how long from now until time is over; None: for ever."""
        self._until = None if minutes is None else time.monotonic() + 60 * minutes
        self._asked = threading.Event()

    def set(self) -> None:
        """Asks for it."""
        self._asked.set()

    def is_set(self) -> bool:
        """Whether it was asked for, or time is over."""
        return self._asked.is_set() or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """Whether the time given is over."""
        return self._until is not None and time.monotonic() >= self._until
