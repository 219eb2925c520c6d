"""`comix predict`: find the videos, load the run's model, say what it takes each for."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.commands.weights_of_run import resolve_weights
from comix_fast.console import Reporter
from comix_fast.errors import ComixError, DatasetError
from comix_fast.files import whole_file
from comix_fast.printable import printable
from comix_fast.serving.answers import FailedVideo, Prediction, Predictions
from comix_fast.serving.finding import find_videos, read_list
from comix_fast.serving.model import AdaptedModel, load
from comix_fast.tables import plain_table
from comix_fast.video import Limits, choose_decoder

STDIO = "-"


@dataclass(frozen=True)
class Choice:
    """Which model of a run, and what computes it, as typed."""

    seed: int | None = None
    head: str | None = None
    domain: Literal["source", "target"] = "target"
    weights: str | None = None
    device: str = "auto"
    threads: int | None = None
    decoder: str = "auto"
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predicted:
    """What a predict did. top_k: classes shown for each video."""

    model: AdaptedModel
    answers: Predictions
    top_k: int


def named_videos(paths: Sequence[Path], listed: Path | None) -> list[Path]:
    """The videos meant by paths as typed, and by the lines of a file, or of standard input for "-".

    Raises DatasetError if there are none.
    """
    if listed is None and not paths:
        raise DatasetError("no videos named", hint="give files, folders of frames or of videos, or --list FILE")
    lines: list[Path] = []
    if listed is not None:
        lines = read_list(sys.stdin.buffer.read() if str(listed) == STDIO else listed.read_bytes())
        if not lines and not paths:
            raise DatasetError(f"no videos named: {listed} has no lines", hint="it holds a path on every line")
    return find_videos([*paths, *lines])


def require_outputs(as_json: bool, csv_file: Path | None) -> None:
    """Before videos are read for an hour: raises ComixError if the results would have nowhere to go."""
    if csv_file is None:
        return
    if str(csv_file) == STDIO and as_json:
        raise ComixError("--json and --csv - both want standard output", hint="give --csv a file")
    if csv_file.is_dir():
        raise ComixError(f"--csv {csv_file} is a folder", hint="give the name of a file")


def run(run_path: Path, videos: Sequence[Path], top_k: int, choice: Choice, reporter: Reporter) -> Predicted:
    """Loads the model and classifies the videos."""
    set_threads(choice.threads)
    device = choose_device(choice.device)
    model = load(
        run_path,
        seed=choice.seed,
        head=choice.head,
        domain=choice.domain,
        device=device,
        weights=None if choice.weights is None else resolve_weights(choice.weights),
        decoder=choose_decoder(choice.decoder).limited(Limits(**choice.limits)),
        threads=choice.threads,
    )
    backbone = model.backbone
    if backbone.warning:
        reporter.warn(backbone.warning)
    reporter.say(
        f"{backbone.name}, {backbone.weights_name} weights, {backbone.precision} on {device}; head {model.head} of "
        f"seed {model.seed}, features standardised as the {model.domain}'s; {len(videos):,} videos"
    )
    return Predicted(model, model.predict(videos, top_k=top_k, reporter=reporter), top_k)


def to_json(done: Predicted) -> dict[str, Any]:
    """For --json."""
    model = done.model
    return {
        "run": _text(str(model.run.root)),
        "seed": model.seed,
        "head": model.head,
        "domain": model.domain,
        "classes": [_text(name) for name in model.classes],
        "videos": [
            {
                "path": _text(str(video.path)),
                "n_frames": video.n_frames,
                "top": [{"class": _text(name), "probability": share} for name, share in video.top],
            }
            for video in done.answers.predicted
        ],
        "failures": [{"path": _text(str(video.path)), "reason": _text(video.reason)} for video in done.answers.failed],
    }


def to_csv(done: Predicted) -> str:
    """A row for every video, in the order given: path, frames, classes with probabilities, what went wrong."""
    n_shown = min(done.top_k, len(done.model.classes))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    pairs = [f"{what}_{rank}" for rank in range(1, n_shown + 1) for what in ("class", "probability")]
    writer.writerow(["path", "n_frames", *pairs, "error"])
    for video in done.answers:
        path = _text(str(video.path))
        if isinstance(video, FailedVideo):
            writer.writerow([path, "", *[""] * len(pairs), _text(video.reason)])
        else:
            cells = [cell for name, share in video.top for cell in (_text(name), f"{share:.6g}")]
            writer.writerow([path, video.n_frames, *cells, ""])
    return written.getvalue()


def write_csv(done: Predicted, out: Path) -> None:
    """The file whole, or standard output for "-"."""
    if str(out) == STDIO:
        sys.stdout.write(to_csv(done))
        return
    with whole_file(out) as partial:
        partial.write_text(to_csv(done), encoding="utf-8")


def table(done: Predicted) -> RenderableType:
    """For people: each video's likeliest class, then the others."""
    rows = [_row(video) for video in done.answers.predicted]
    shown = plain_table(("video", "class", "%", "then"), rows)
    for number in (1, 3):
        shown.columns[number].justify = "left"
    return shown


def closing(done: Predicted, csv_file: Path | None) -> RenderableType:
    """The table, unless it is in a file; videos that could not be read, by path and reason."""
    parts: list[RenderableType] = []
    answers = done.answers
    if csv_file is not None:
        parts.append(Text(printable(f"{csv_file}: {len(answers.predicted):,} of {len(answers):,} videos classified")))
    elif answers.predicted:
        parts.append(table(done))
    if answers.failed:
        parts.append(Text(f"videos that could not be read: {len(answers.failed):,} of {len(answers):,}"))
        parts += [Text(printable(f"  {video.path}: {video.reason}")) for video in answers.failed]
    return Group(*parts)


def _row(video: Prediction) -> list[str]:
    (name, share), *others = video.top
    then = ", ".join(f"{other} {100 * less:.1f}" for other, less in others)
    return [printable(str(video.path)), printable(name), f"{100 * share:.1f}", printable(then)]


def _text(name: str) -> str:
    """A name as UTF-8 can have it: bytes of a path that are no text as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
