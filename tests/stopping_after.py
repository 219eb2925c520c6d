"""A run's time, over at a chosen iteration."""

from __future__ import annotations

from comix_fast.stages.stopping import Stop


class Stopping(Stop):
    """Time is over when it has been asked for so many times, once before each iteration."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._left = after

    def is_set(self) -> bool:
        self._left -= 1
        return self.out_of_time

    @property
    def out_of_time(self) -> bool:
        return self._left < 0
