"""`comix cache export` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from builders import Ended, MakeCache
from comix_fast.cache import FeatureCache


def test_it_lists_the_folders(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache("ut", test=True)
    ended = comix("cache", "export", cache, "--out", "arrays", "--views", "plain, bgmix-0", "--split", "train")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("arrays: ") and "MB as npy, features of 24 numbers" in ended.out
    for folder in ("source-train/plain", "source-train/bgmix-0", "target-train/plain", "target-train/bgmix-0"):
        assert folder in ended.out
    assert "test" not in ended.out and "bgmix-1" not in ended.out
    assert ended.out.rstrip().endswith("next: arrays/README.txt says what is what and how to read it")
    features = np.load("arrays/source-train/plain/features.npy", mmap_mode="r")
    held = FeatureCache(cache)
    assert features.tobytes() == b"".join(held.features(v.id).tobytes() for v in held.videos("source", "train"))


def test_safetensors_and_json(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    ended = comix("cache", "export", make_cache("ut"), "--out", "arrays", "--format", "safetensors", "--json")
    said = json.loads(ended.out)
    assert said["format"] == "safetensors" and len(said["arrays"]) == 6
    for one in said["arrays"]:
        arrays = load_file(Path("arrays") / one["folder"] / "arrays.safetensors")
        assert arrays["features"].shape == (one["clips"], one["dim"]) and len(arrays["labels"]) == one["videos"]


def test_what_is_there_is_left_alone(comix: Callable[..., Ended], make_cache: MakeCache, tmp_path: Path) -> None:
    cache = make_cache("ut")
    (tmp_path / "mine").write_text("mine")
    for words, said in (
        (("--out", "."), "is not empty"),
        (("--out", "arrays", "--views", "speed-2"), "no video has a view speed-2"),
        (("--out", "arrays", "--split", "all"), "there is no split all"),
        (("--out", "arrays", "--format", "csv"), "csv"),
    ):
        ended = comix("cache", "export", cache, *words)
        assert ended.code == 2 and said in ended.err, ended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "ut"]
