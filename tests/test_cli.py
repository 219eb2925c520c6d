"""Commands as a user types them, on small real videos with random weights."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from builders import Ended, MakeCache, WriteVideo
from comix_fast.backbones import load_backbone
from comix_fast.cache import FeatureCache
from comix_fast.commands import demo
from comix_fast.config import ViewPlan
from comix_fast.version import __version__

FAST = ("--weights", "random", "--views", "plain,bgmix", "--mixes", "1")
SHORT = ("--warmstart-iterations", "12", "--iterations", "8", "--eval-every", "4", "--hidden-dim", "8")
PUBLISHED = ("--preset", "ucf-hmdb-published")


@pytest.fixture
def folders(tmp_path: Path, film: WriteVideo) -> tuple[Path, Path]:
    for number, name in enumerate(("a/go/1.mp4", "a/stop/1.mp4", "b/go/1.mp4", "b/stop/1.mp4")):
        film(tmp_path / name, 20, seed=number)
    return tmp_path / "a", tmp_path / "b"


def test_the_whole_road(comix: Callable[..., Ended], folders: tuple[Path, Path]) -> None:
    source, target = folders
    (source / "go" / "2.mp4").write_bytes(b"no video")
    first = comix("extract", "--source", source, "--target", target, "--out", "cache/ab", *FAST)
    assert first.code == 1
    assert "warning: the backbone's weights are random" in first.err
    assert "videos that could not be read: 1; the same command tries just these again" in first.out
    assert "a/go/2.mp4: " in first.out

    (source / "go" / "2.mp4").unlink()
    second = comix("extract", "--source", source, "--target", target, "--out", "cache/ab", *FAST, "--json")
    assert second.code == 0
    assert json.loads(second.out) == {
        "cache": "cache/ab",
        "extracted": 0,
        "present_before": 4,
        "failures": [],
        "part": None,
    }

    refused = comix("extract", "--source", source, "--target", target, "--out", "cache/ab", *FAST, "--mixes", "2")
    assert refused.code == 2
    assert "views.bgmix.draws: 2, there 1" in refused.err

    shown = comix("cache", "info", "cache/ab")
    assert shown.code == 0
    assert "2 videos of a" in shown.out
    assert "view bgmix-0" in shown.out
    assert "random" in shown.out

    plain = ("adapt", "--from-cache", "cache/ab", *SHORT, "--seeds", "2", "--batch-size", "2")
    default = comix(*plain, "--name", "default")
    assert default.code == 0
    assert "standardised per domain" in default.out
    ran = comix(*plain, "--name", "first", "--lambda-teacher", "0.03")
    assert ran.code == 0
    assert "source-only" in ran.out
    assert "+ teacher" in ran.out
    assert "transductive" in ran.out
    assert "chosen without labels" in ran.out
    assert "oracle (peeks at target labels)" in ran.out
    assert ran.out.splitlines()[-3:] == [
        "next: comix report runs/first",
        "or:   comix retrieve --from-cache cache/ab --run runs/first --html",
        "or:   comix predict runs/first VIDEOS",
    ]

    found = comix("retrieve", "--from-cache", "cache/ab", "--run", "runs/first", "-k", "1")
    assert found.code == 0
    for name in ("backbone", "source-only", "selected", "precision@1", "mAP", "1-NN accuracy per class"):
        assert name in found.out
    written = json.loads(Path("runs/first/retrieval-target-source.json").read_text())
    assert set(written["spaces"]) == {"backbone", "source-only", "last", "selected"}
    assert len(written["spaces"]["last"]["queries"]) == 2

    raw = comix("retrieve", "--from-cache", "cache/ab", "--query", "source", "--gallery", "source", "-k", "1", "--json")
    assert json.loads(raw.out)["spaces"]["backbone"]["same_set"] is True


def test_a_killed_extract_goes_on_to_the_same_bytes(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    def command(out: str) -> list[str]:
        words = ["extract", "--source", "a", "--target", "b", "--out", out, *FAST, "--shard-size", "1", "--quiet"]
        return [sys.executable, "-m", "comix_fast", *words]

    subprocess.run(command("whole"), cwd=tmp_path, check=True, capture_output=True)
    killed = subprocess.Popen(command("cut"), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob("shards/*.h5")):
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert 0 < len(FeatureCache(tmp_path / "cut").extracted) < 4
    subprocess.run(command("cut"), cwd=tmp_path, check=True, capture_output=True)
    whole, cut = FeatureCache(tmp_path / "whole"), FeatureCache(tmp_path / "cut")
    assert len(cut.extracted) == 4
    for video in whole.extracted:
        for view in ("plain", "bgmix-0"):
            assert whole.features(video, view).tobytes() == cut.features(video, view).tobytes()


def test_ctrl_c_says_that_nothing_is_lost(tmp_path: Path, make_cache: MakeCache) -> None:
    cache = make_cache()
    words = ["adapt", "--from-cache", str(cache), "--iterations", "100000", "--eval-every", "20", "--name", "r"]
    words += ["--lambda-teacher", "0.1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "comix_fast", *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "runs/r/seed-0/checkpoints").glob("*-adapt-*.safetensors")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: what is finished is kept; the same command goes on from there" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["extract"], "no videos named"),
        (["extract", "x.toml", "--source", "a"], "name the videos in one way"),
        (["extract", "--source", "a"], "--source and --target go together"),
        (["extract", "--preset", "ucf-hmdb"], "--preset needs --base-dir and --splits"),
        (["extract", "absent.toml"], "absent.toml"),
        (["adapt", "--from-cache", "absent"], "absent holds no feature cache"),
        (["adapt", "--from-cache", "absent", "--preset", "x"], "no preset 'x'"),
        (["adapt", "--from-cache", "absent", "--lr", "-1"], "--lr must be above 0, not -1"),
        (["adapt", "--from-cache", "absent", "--no-tpl", "--lambda-tpl", "1"], "contradict each other"),
        (["sweep", "--from-cache", "absent", "--grid", "lr=0.1"], "absent holds no feature cache"),
        (["sweep", "--from-cache", "absent", "--grid", "rate=0.1"], "there is no 'rate' to vary"),
        (["sweep", "--from-cache", "absent", "--grid", "lr=0.1", "--lr", "-1"], "--lr must be above 0, not -1"),
        (["retrieve", "--from-cache", "absent"], "absent holds no feature cache"),
        (["cache", "info", "absent"], "absent holds no feature cache"),
        (["weights", "--convert", "x.pt"], "--convert needs --out"),
        (["demo", "--device", "tpu"], "no device 'tpu'"),
    ],
)
def test_bad_input_is_an_error_without_a_traceback(comix: Callable[..., Ended], words: list[str], message: str) -> None:
    ended = comix(*words)
    assert ended.code == 2
    assert ended.err.startswith("error: ")
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert "Traceback" in comix(*words, "--debug").err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["extract", "--mixes", "x"], ["adapt"], ["sweep", "--from-cache", "x"], ["frobnicate"], ["retrieve", "-k", "0"]],
)
def test_mistyped_options_are_usage_errors(comix: Callable[..., Ended], words: list[str]) -> None:
    ended = comix(*words)
    assert ended.code == 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    "command",
    [
        *([], ["extract"], ["adapt"], ["sweep"], ["compare"], ["retrieve"], ["weights"], ["cache", "info"], ["demo"]),
        *(["finetune"], ["train"], ["predict"], ["export"], ["import"]),
    ],
)
def test_help_explains_with_examples(comix: Callable[..., Ended], command: list[str]) -> None:
    ended = comix(*command, "--help")
    assert ended.code == 0
    assert "comix" in ended.out
    assert "Example" in ended.out or "comix demo" in ended.out


def test_help_loads_no_torch() -> None:
    code = "import sys, comix_fast.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_hyper_parameter_has_its_option(comix: Callable[..., Ended]) -> None:
    text = comix("adapt", "--help").out
    for option in (
        "--warmstart-iterations",
        "--lambda-bgm",
        "--lambda-tpl",
        "--pseudo-threshold",
        "--temperature",
        "--seeds",
    ):
        assert option in text


def test_the_version(comix: Callable[..., Ended]) -> None:
    assert comix("--version").out.strip() == __version__


def test_the_launcher_of_a_checkout_is_the_same_command() -> None:
    launcher = Path(__file__).parents[1] / "cli.py"
    done = subprocess.run([sys.executable, str(launcher), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == __version__


def test_weights_are_listed_and_converted(
    comix: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMIX_HOME", str(tmp_path / "home"))
    listed = json.loads(comix("weights", "--json").out)
    assert {one["backbone"] for one in listed} == {"i3d", "r3d_18", "mc3_18", "r2plus1d_18", "s3d"}
    assert "mc3_18" in comix("weights").out
    torch.save(torchvision.models.video.mc3_18(weights=None).state_dict(), "own.pt")
    done = comix("weights", "--convert", "own.pt", "--out", "own.safetensors", "--backbone", "mc3_18", "--json")
    assert done.code == 0
    loaded = load_backbone("mc3_18", tmp_path / "own.safetensors", "fp32")
    assert loaded.weights_sha256 == json.loads(done.out)["sha256"]
    again = comix("weights", "--convert", "own.pt", "--out", "own.safetensors", "--backbone", "mc3_18")
    assert again.code == 2
    assert "already exists" in again.err
    foreign = comix("weights", "--convert", "own.pt", "--out", "i3d.safetensors")
    assert foreign.code == 2
    assert not Path("i3d.safetensors").exists()


def test_the_demo_goes_the_whole_way(comix: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "VIDEOS_PER_CLASS", 1)
    monkeypatch.setattr(demo, "VIEWS", ViewPlan((), 1))
    monkeypatch.setattr(demo, "RECIPE", replace(demo.RECIPE, warmstart_iterations=8, iterations=4, eval_every=4))
    done = comix("demo", "--weights", "random", "--seeds", "2", "--out", "shown")
    assert done.code == 0
    for text in ("target accuracy: source-only", "steps chosen without labels", "5-NN accuracy", "+ teacher"):
        assert text in done.out
    assert done.out.splitlines()[-1] == "report shown/runs/demo/report.html"
    assert "data:image/webp" in Path("shown/runs/demo/report.html").read_text(encoding="utf-8")
    again = json.loads(comix("demo", "--weights", "random", "--seeds", "2", "--out", "shown", "--json").out)
    assert again["run"]["seeds"] == [0, 1]
    assert again["run"]["transductive"] is True
    assert Path(again["gallery"]).is_file()
    assert len(FeatureCache("shown/cache").extracted) == 12


def test_files_where_folders_belong_are_named(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    Path("taken").write_text("a file")
    cache = make_cache()
    for words, message in (
        (["adapt", "--from-cache", "taken"], "taken holds no feature cache"),
        (["adapt", "--from-cache", cache, *SHORT, "--runs", "taken"], "taken: file exists"),
        (["retrieve", "--from-cache", cache, "--out", "taken/found.json"], "taken: "),
    ):
        ended = comix(*words)
        assert ended.code == 2
        assert "error: " in ended.err
        assert message in ended.err
        assert "Traceback" not in ended.err
        assert "Errno" not in ended.err
    assert Path("taken").read_text() == "a file"


def test_the_next_line_can_be_pasted(comix: Callable[..., Ended], folders: tuple[Path, Path]) -> None:
    source, target = folders
    words = ["--weights", "random", "--views", "plain", "--out", "cache/a b [c]"]
    done = comix("extract", "--source", source, "--target", target, *words)
    line = done.out.splitlines()[-1]
    assert line == "next: comix adapt --from-cache 'cache/a b [c]' --no-bgm"
    assert comix(*shlex.split(line)[2:], *SHORT, "--quiet").code == 0


def test_a_sweep_as_it_is_typed(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    cache = make_cache()
    grid = ["--grid", "lambda_bgm=0.01,0.1", "--grid", "mixing=true,false"]
    words = ["sweep", "--from-cache", cache, *grid, *PUBLISHED, *SHORT, "--seeds", "2"]
    first = comix(*words)
    assert first.code == 0
    for text in ("lambda_bgm", "mixing", "InfoMax", "chosen without labels", "2 seeds, mean ± 95 %", "transductive"):
        assert text in first.out
    assert "4 points, 2 seeds each: 8 heads" in first.err
    assert "2 heads: warm-start: 24/24 iterations" in first.err
    (root,) = Path("runs").glob("cache-sweep-*")
    again = comix(*words, "--json")
    assert again.code == 0
    assert "iterations" not in again.err
    found = json.loads(again.out)
    assert found.pop("sweep") == str(root)
    assert found == json.loads((root / "sweep.json").read_text())
    assert len(found["points"]) == 4
    line = first.out.splitlines()[-1]
    assert line.startswith("next: comix retrieve ")
    assert comix(*shlex.split(line)[2:]).code == 0
    # Another grid is another sweep, the same one with more seeds is not.
    assert comix(*words[:5], *PUBLISHED, *SHORT, "--quiet").code == 0
    assert comix(*words[:-1], "3", "--quiet").code == 0
    assert len(list(Path("runs").glob("cache-sweep-*"))) == 2


def test_a_sweep_that_loses_a_point_says_so(comix: Callable[..., Ended], make_cache: MakeCache) -> None:
    words = [
        "sweep",
        "--from-cache",
        make_cache(),
        "--grid",
        "lr=0.01,1e6",
        "--feature-norm",
        "none",
        *PUBLISHED,
        *SHORT,
    ]
    done = comix(*words, "--name", "s")
    assert done.code == 1
    assert "given up: lr=1000000.0, seed 0: the loss is not finite after" in done.out
    assert Path("runs/s/lr=0.01/results.json").exists()
    assert not Path("runs/s/lr=1000000.0/results.json").exists()
    as_json = comix(*words, "--name", "s", "--json")
    assert as_json.code == 1
    assert [one["point"] for one in json.loads(as_json.out)["given_up"]] == ["lr=1000000.0"]
