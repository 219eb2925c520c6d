"""Stage one as a process: how much memory it takes, and what Ctrl-C leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builders import WriteVideo
from comix_fast.cache import FeatureCache

# Extracts the folders a and b with a stand-in for a backbone that takes `seconds` a part; prints its peak memory.
CHILD = """
import sys, threading, time
from pathlib import Path
import torch
from comix_fast.config import ExtractRecipe, ViewPlan
from comix_fast.console import Silent
from comix_fast.datasets import check_files, load_folders
from comix_fast.stages import extract
from comix_fast.video import choose_decoder

root, seconds = Path(sys.argv[1]), float(sys.argv[2])

class Means:
    name, feature_dim, warning = "means", 3, ""

    def __call__(self, clips):
        time.sleep(seconds)
        return clips.mean(dim=(2, 3, 4))

made_up = {"name": "means", "weights": "none", "weights_sha256": "0" * 64, "precision": "fp32"}
recipe = ExtractRecipe(made_up, {"name": "pyav", "version": "0"}, ViewPlan((), 1))
dataset = check_files(load_folders(root / "a", root / "b"))
try:
    decoder = choose_decoder("pyav")
    extract.run(recipe, dataset, Means(), decoder, root / "out", reporter=Silent(), shard_size=1, threads=2)
except KeyboardInterrupt:
    print("threads left:", threading.active_count() - 1)
    sys.exit(130)
status = Path("/proc/self/status").read_text()
print(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")))
"""


def folders(root: Path, film: WriteVideo, per_domain: int, n_frames: int) -> Path:
    for number in range(per_domain):
        for domain in "ab":
            film(root / domain / ("go", "stop")[number % 2] / f"{number}.mp4", n_frames, number, size=(120, 160))
    return root


def peak(root: Path) -> float:
    """MB. The stand-in is slower than decoding, so that every queue is full."""
    command = [sys.executable, "-c", CHILD, str(root), "0.02"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_videos_or_their_length(tmp_path: Path, film: WriteVideo) -> None:
    one = peak(folders(tmp_path / "one", film, 2, 100))
    longer = peak(folders(tmp_path / "longer", film, 2, 1000))
    more = peak(folders(tmp_path / "more", film, 20, 100))
    # A thousand resized frames are 150 MB, two thousand clips of float32 some GB.
    assert longer < 1.1 * one
    assert more < 1.1 * one


def test_ctrl_c_ends_a_process_soon_and_what_is_done_is_kept(tmp_path: Path, film: WriteVideo) -> None:
    folders(tmp_path, film, 4, 40)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), "0.3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("shards/*.h5")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == "threads left: 0\n"
    assert time.monotonic() - pressed < 10
    assert 0 < len(FeatureCache(tmp_path / "out").extracted) < 8
    assert not list((tmp_path / "out").rglob("*.partial"))
