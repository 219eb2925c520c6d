"""`comix cache verify`, as typed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import Ended, MakeCache, WriteVideo
from comix_fast.cache.reader import read_manifest
from comix_fast.cache.stated import stated_recipe
from comix_fast.commands import cache_verify as command
from comix_fast.errors import WeightsError

ARCHIVE = Path(__file__).parents[1] / "data" / "caches"
Comix = Callable[..., Ended]


def test_a_sound_cache(comix: Comix, tmp_path: Path) -> None:
    shutil.copytree(ARCHIVE / "form-1", tmp_path / "old")
    done = comix("cache", "verify", "old")
    assert done.code == 0
    assert "11 files are of form 1, without hashes: checked for sense only" in done.out
    assert done.out.rstrip().endswith("old is sound")
    assert "checking: 2/2 MB" in done.err
    assert comix("cache", "verify", "old", "--quiet").err == ""


def test_damage_is_named_with_the_way_out(comix: Comix, tmp_path: Path, make_cache: MakeCache) -> None:
    make_cache("dam aged")
    shards = sorted((tmp_path / "dam aged" / "shards").iterdir())
    for path in shards:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    done = comix("cache", "verify", "dam aged")
    assert done.code == 1
    for path in shards:
        assert f"shards/{path.name}\n  it is not what was written" in done.out
        assert f"  'dam aged/shards/{path.name}'\n" in done.out
    assert "delete these and run the same extract again, which fills the gap" in done.out
    assert "dam aged is not sound" in done.out.splitlines()[-1]
    parsed = json.loads(comix("cache", "verify", "dam aged", "--json", "-q").out)
    assert not parsed["sound"]
    assert {finding["file"] for finding in parsed["findings"]} == {f"shards/{path.name}" for path in shards}


def test_names_can_not_act_as_markup_or_control(comix: Comix, tmp_path: Path, make_cache: MakeCache) -> None:
    root = make_cache()
    (root / "[red]\x1b[2Jx").write_bytes(b"")
    done = comix("cache", "verify", "cache")
    assert r"[red]\x1b[2Jx" in done.out
    assert "\x1b" not in done.out


def test_what_can_not_be_begun(comix: Comix, tmp_path: Path, make_cache: MakeCache) -> None:
    make_cache()
    assert "holds no feature cache" in comix("cache", "verify", tmp_path / "nothing").err
    unasked = comix("cache", "verify", "cache", "--source", "a", "--target", "b")
    assert unasked.code == 2
    assert "a dataset is named for --recompute alone" in unasked.err
    unnamed = comix("cache", "verify", "cache", "--recompute", 1)
    assert unnamed.code == 2
    assert "no videos named" in unnamed.err


def test_real_videos_are_extracted_again(comix: Comix, tmp_path: Path, film: WriteVideo) -> None:
    for number, (name, n_frames) in enumerate((("a/go/1", 20), ("a/stop/2", 19), ("b/1", 20))):
        film(tmp_path / f"{name}.mp4", n_frames, seed=number)
    where = ("--source", "a", "--target", "b")
    of_extract = ("--backbone", "r3d_18", "--weights", "random", "--precision", "fp32", "--views", "plain")
    assert comix("extract", *where, "--out", "ab", *of_extract, "-q").code == 0
    done = comix("cache", "verify", "ab", *where, "--recompute", 1)
    assert done.code == 0
    assert "r3d_18, random weights, fp32 on cpu" in done.err
    assert done.out.splitlines()[-1] == "ab is sound; one video extracted again agrees"
    # The film of one, whichever it is, is another one now.
    for path in (*(tmp_path / "a").rglob("*.mp4"), *(tmp_path / "b").rglob("*.mp4")):
        film(path, 23, seed=8)
    changed = comix("cache", "verify", "ab", *where, "--recompute", 1, "--json", "-q")
    assert changed.code == 1
    (video,) = json.loads(changed.out)["recomputed"]["videos"]
    assert "another file: its sha256 is not that of the one extracted" in video["matches"][0]["reason"]
    assert "frames then, 23 now" in video["matches"][0]["reason"]
    assert video["verdict"] == "different"
    # A cache that can't be opened is said to be damaged, and nothing is computed.
    shard = next((tmp_path / "ab" / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-9])
    damaged = comix("cache", "verify", "ab", *where, "--recompute", 1)
    assert damaged.code == 1
    assert "nothing was extracted again" in damaged.out


def test_the_weights_must_be_those_of_the_cache() -> None:
    recipe = stated_recipe(read_manifest(ARCHIVE / "form-1")["recipe"])
    assert command.load(recipe, None, "cpu").weights_name == "random"
    unnamed = stated_recipe({**recipe.to_json(), "backbone": {**recipe.backbone, "weights": "file"}})
    with pytest.raises(WeightsError, match="came from a file"):
        command.load(unnamed, None, "cpu")
    others = stated_recipe({**recipe.to_json(), "backbone": {**recipe.backbone, "weights_sha256": "0" * 64}})
    with pytest.raises(WeightsError, match="are not the weights of this cache"):
        command.load(others, None, "cpu")
    wider = stated_recipe({**recipe.to_json(), "backbone": {**recipe.backbone, "form": "0"}})
    with pytest.raises(WeightsError) as refused:
        command.load(wider, None, "cpu")
    assert "form: 1, there 0" in str(refused.value)
