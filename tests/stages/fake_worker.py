"""Speaks as a worker does and does nothing, at a fiftieth of the cost of starting one.

    python -m fake_worker MODE NOTES

NOTES: a folder where each process leaves what it was told, and by which later ones know that they are not the first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FULL = {"errno": 28, "reason": "No space left on device", "file": "shards"}
UNLIKE = {"message": "it has another decoder", "details": ["in the worker 2"], "hint": "install the same"}


def tell(value: Any) -> None:
    print(json.dumps(value), flush=True)


def orders() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def note(folder: Path, value: Any) -> int:
    """How many have left a note before."""
    number = len(list(folder.iterdir()))
    (folder / f"{number}.json").write_text(json.dumps(value))
    return number


def live(mode: str, notes: Path) -> None:
    told = orders()
    setup = next(told)
    threads = os.environ["OMP_NUM_THREADS"]
    n_before = note(notes, {"threads": threads, "device": setup["setup"]["device"], "number": setup["number"]})
    if mode == "unready":
        os._exit(3)
    tell({"ready": True})
    for order in told:
        if "load" in order:
            if mode == "unloadable":
                tell({"fell": "OutOfMemoryError: CUDA out of memory"})
                os._exit(1)
            tell({"ready": True})
            continue
        videos = order.get("survey", order.get("extract"))["videos"]
        if mode == "unlike":
            tell({"error": UNLIKE})
        if mode == "full":
            tell({"error": FULL})
        if mode == "hopeless" and not order["orders"]["given_up"]:
            os._exit(5)
        if mode == "halfway" and not n_before:
            tell({"advance": 1})
            os._exit(5)
        for _ in videos:
            tell({"advance": 1})
        tell({"done": {"n_videos": 0, "n_clips": 0, "failures": list(order["orders"]["given_up"].values())}})


if __name__ == "__main__":
    live(sys.argv[1], Path(sys.argv[2]))
