"""Checks that can be left out of the reader, and faults that can be put in: the fuzz must notice each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from comix_fast.cache import FeatureCache, lists, plain_files, reading, rows, store, stored_json


def left_out(name: str) -> None:
    """Leaves a check out, for the rest of this process. "": none."""
    if name:
        SABOTAGES[name]()


def nothing(*_: Any, **__: Any) -> None:
    """In a check's place."""


def checksums() -> None:
    for module in (reading, rows):
        module.require_rows = nothing


def links() -> None:
    for module in (plain_files, stored_json):
        module.refuse_link = nothing


def shapes() -> None:
    store.check_manifest = nothing
    lists.check_dataset = nothing


def swelling() -> None:
    reading.MOST_SWELLING = 10**9


def abort() -> None:
    FeatureCache.failures = lambda self: os.abort()


def sleep() -> None:
    FeatureCache.failures = lambda self: time.sleep(1000)


SABOTAGES: dict[str, Callable[[], None]] = {
    sabotage.__name__: sabotage for sabotage in (checksums, links, shapes, swelling, abort, sleep)
}
