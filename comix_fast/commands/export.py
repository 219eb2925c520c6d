"""`comix export`: load a run's model, write it for other programs, say how near the file is to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import RenderableType
from rich.text import Text

from comix_fast.commands.machine import set_threads
from comix_fast.console import Reporter
from comix_fast.serving import export as serving
from comix_fast.serving.export import Exported, FormName
from comix_fast.serving.model import AdaptedModel, load
from comix_fast.serving.parts import PartName


@dataclass(frozen=True)
class Choice:
    """Which model of a run, as typed."""

    seed: int | None = None
    head: str | None = None
    domain: Literal["source", "target"] = "target"
    weights: Path | None = None


def run(
    run_path: Path,
    choice: Choice,
    form: FormName,
    part: PartName,
    out: Path | None,
    threads: int | None,
    reporter: Reporter,
) -> Exported:
    """Loads the model and writes it, or a part of it. out: None takes default_out."""
    set_threads(threads)
    serving.FORMS[form].require()
    model = load(
        run_path, seed=choice.seed, head=choice.head, domain=choice.domain, device="cpu", weights=choice.weights
    )
    if part != "head" and model.backbone.warning:
        reporter.warn(model.backbone.warning)
    done = serving.export(
        model, out or default_out(model, form, part), form=form, part=part, weights=choice.weights, reporter=reporter
    )
    for warning in warnings_of(done):
        reporter.warn(warning)
    return done


def default_out(model: AdaptedModel, form: FormName, part: PartName) -> Path:
    """In the run: seed-0-last.onnx, seed-0-last-head.onnx …"""
    name = f"seed-{model.seed}-{model.head}" + ("" if part == "all" else f"-{part}")
    return model.run.root / f"{name}{serving.FORMS[form].suffix}"


def warnings_of(done: Exported) -> list[str]:
    """What a user of the file should know before trusting it."""
    said = []
    if rounded := serving.rounded_by_run(done):
        said.append(
            f"the run computes its {' and '.join(rounded)} in bfloat16, the file in float32: "
            "answers differ by that rounding"
        )
    if not done.checker:
        said.append(
            "onnxruntime is not installed, so the file was checked but not run: pip install 'comix-fast[export]'"
        )
    return said


def to_json(done: Exported) -> dict[str, Any]:
    """For --json."""
    return {
        "file": str(done.path),
        "format": done.form,
        "bytes": done.n_bytes,
        "seconds": round(done.seconds, 2),
        "run_with": done.checker,
        "differences": dict(done.differences),
        "metadata": dict(done.metadata),
    }


def closing(done: Exported) -> RenderableType:
    """The file, what it takes and gives, and how near it is."""
    part = done.part
    sizes = ", ".join(map(str, part.sizes))
    lines = [
        f"{done.path}: {done.n_bytes / (1 << 20):,.1f} MiB, in {done.seconds:.0f} s",
        f"takes {part.takes} [{sizes}], float32" + (" in [-1, 1]" if part.takes == "clips" else ""),
        f"gives {', '.join(part.gives)}, float32",
    ]
    if done.checker:
        apart = ", ".join(f"{name} {difference:.1e}" for name, difference in done.differences.items())
        lines.append(f"largest difference from the model, run with {done.checker}: {apart}")
    return Text("\n".join(lines))
