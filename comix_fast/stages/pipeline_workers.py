"""Threads that compute: each takes a whole piece of work at a time, what it gives is written where it belongs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from comix_fast.stages.pipeline_channel import Channel, Closed
from comix_fast.stages.pipeline_threads import join_all, start_all, threads_of

Piece = TypeVar("Piece")
Tag = TypeVar("Tag")

WAITING_PIECES = 1
"""Pieces that wait per worker, beside the one each works on."""


class Workers(Generic[Piece, Tag]):
    """`threads` threads, each with its own computing function; used in a `with`, at whose end none is left.

    make: called once in each thread; gives the function that does one piece. What either raises is raised by the
        next call here, and ends the others.
    intra_op: torch threads that each of them computes with; None leaves torch's own number. The setting of the
        calling thread is as before when the block has ended.
    """

    def __init__(self, make: Callable[[], Callable[[Piece], None]], threads: int, intra_op: int | None) -> None:
        self._make = make
        self._intra_op = intra_op
        self._before = torch.get_num_threads()
        self._pieces: Channel[tuple[Piece, Tag]] = Channel(WAITING_PIECES * threads)
        self._changed = threading.Condition()
        self._given = 0
        self._done: list[Tag] = []
        self._told = 0
        self._error: BaseException | None = None
        self._threads = threads_of(self._work, "comix-compute", threads)

    def __enter__(self) -> Self:
        start_all(self._threads, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._pieces.close()
        join_all(self._threads)
        # A thread's own setting is also the one that later threads begin with.
        torch.set_num_threads(self._before)

    def put(self, piece: Piece, tag: Tag) -> Sequence[Tag]:
        """Hands over a piece as soon as there is room. Returns the tags of pieces done since it was last asked.

        Raises what a worker raised.
        """
        try:
            self._pieces.put((piece, tag))
        except Closed:
            self._raise()
            raise
        self._given += 1
        return self._finished()

    def some(self) -> Sequence[Tag]:
        """Waits until a piece is done that was not told of; returns the tags of all such, none if there are none left.

        Raises what a worker raised.
        """
        if self._told < self._given:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._done) or self._error is not None)
        return self._finished()

    def _finished(self) -> Sequence[Tag]:
        with self._changed:
            self._raise()
            done, self._done = self._done, []
        self._told += len(done)
        return done

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        try:
            if self._intra_op is not None:
                torch.set_num_threads(self._intra_op)
            compute = self._make()
            for piece, tag in self._pieces:
                compute(piece)
                with self._changed:
                    self._done.append(tag)
                    self._changed.notify_all()
        except Closed:
            return
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()
            self._pieces.close()
