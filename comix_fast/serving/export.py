"""Models as files for other programs: written, read back, run, and compared with the model itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from comix_fast.console import Reporter, Silent
from comix_fast.errors import ComixError
from comix_fast.files import whole_file
from comix_fast.serving.forms import Form, OnnxForm, TorchForm, traced
from comix_fast.serving.model import AdaptedModel
from comix_fast.serving.parts import FEWEST_CLIPS, Part, PartName, part_of
from comix_fast.version import __version__

FormName = Literal["onnx", "torch"]
FORMS: Mapping[str, Form] = MappingProxyType({"onnx": OnnxForm(), "torch": TorchForm()})
EXPORT_FORM = "1"
"""Of the metadata in a file; raised when a name of it changes its meaning."""
TOLERANCE = 1e-4
"""How far a file's answers may be from the model's: probabilities as they are, logits and features as a share of the
largest, or of 1 if that is smaller."""


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    checker: what ran it, as "onnxruntime 1.31.1", or "" where nothing could. differences: the largest difference from
    the model of each output; empty where nothing ran it. metadata: what the file says of itself. seconds: in all.
    """

    path: Path
    form: FormName
    part: Part
    metadata: Mapping[str, Any]
    checker: str
    differences: Mapping[str, float]
    n_bytes: int
    seconds: float


def export(
    model: AdaptedModel,
    out: Path,
    *,
    form: FormName = "onnx",
    part: PartName = "all",
    weights: str | Path | None = None,
    reporter: Reporter | None = None,
) -> Exported:
    """Writes a model, or a part of it, as a file that needs no comix-fast: whole and checked, or not at all.

    form: "onnx", or "torch" for torch.export's .pt2. part, of B videos with N clips each:
        "all": clips [B, N, 3, T, 224, 224] float32 in [-1, 1] -> logits [B, C], probabilities [B, C];
        "head": features [B, N, D] float32 -> the same; "backbone": clips [B, 3, T, 224, 224] -> features [B, D].
    B is free. N is free, from 3 on, where the head is on statistics over time, and fixed to the number of clips that
    the run tests on where it is on clips. All is in float32, whatever the run computes in; features are not rounded
    to float16 on their way to the head, as a cache's are, so probabilities differ by that rounding from `predict`'s.
    weights: as given to comix_fast.serving.model.load.

    The file is run on fixed random input and compared with the model: by torch, or by onnxruntime; where that is not
    installed ONNX's own checker looks at it, and `checker` is "". Raises ComixError if a package is missing, if `out`
    is a folder, or if the answers differ by more than TOLERANCE; `out` is then as it was.
    """
    began, reporter, writer = time.monotonic(), reporter or Silent(), FORMS[form]
    writer.require()
    if out.is_dir():
        raise ComixError(f"{out} is a folder", hint=f"name a file: --out {out / f'model{writer.suffix}'}")
    chosen = part_of(model, part, weights)
    metadata = describe(model, chosen)
    reporter.say(f"tracing {_named(part)} and writing {out}")
    program = traced(chosen)
    differences: dict[str, float] = {}
    with whole_file(out) as partial:
        writer.write(program, chosen, metadata, partial)
        checker = writer.checker
        if checker:
            reporter.say(f"running it with {checker}")
            differences = _compare(writer, partial, chosen)
    return Exported(out, form, chosen, metadata, checker, differences, out.stat().st_size, time.monotonic() - began)


def describe(model: AdaptedModel, part: Part) -> dict[str, Any]:
    """What a file says of itself, as JSON values: enough to prepare its input and to read its output."""
    features, recipe = model.run.features, model.run.recipe
    backbone = model.backbone
    taken = "all candidates" if model.run.takes_every_clip else "the first of each bin"
    fewest = {"fewest_clips": FEWEST_CLIPS} if "clips" in part.free.values() else {}
    return {
        "form": EXPORT_FORM,
        "comix_fast": __version__,
        "run": model.run.root.resolve().name,
        "seed": model.seed,
        "head": model.head,
        "head_kind": recipe.head,
        "statistics": list(model.classifier.statistics),
        "standardised_as": model.domain,
        "part": part.name,
        "input": {"name": part.takes, "sizes": list(part.sizes), **fewest},
        "outputs": list(part.gives),
        "classes": list(model.classes),
        "preprocessing": features["preprocessing"],
        "clips": {**features["clips"], "taken": taken},
        "backbone": {"name": backbone.name, "weights": backbone.weights_name, "sha256": backbone.weights_sha256},
        "precision": "fp32",
        "run_precision": {"backbone": backbone.precision, "head": model.classifier.head.precision},
    }


def rounded_by_run(exported: Exported) -> list[str]:
    """Which of backbone and head the run computes in bfloat16 and the file in float32."""
    inside = {"all": ("backbone", "head"), "backbone": ("backbone",), "head": ("head",)}[exported.part.name]
    return [name for name in inside if exported.metadata["run_precision"][name] == "bf16"]


def _named(part: PartName) -> str:
    return "the model" if part == "all" else f"the {part}"


def _compare(form: Form, path: Path, part: Part) -> dict[str, float]:
    """The largest difference of each output. Raises ComixError above TOLERANCE."""
    # Another batch than was traced, so that a size that got fixed is found out; of many clips one video will do.
    x = part.probe(n_videos=1 if part.name == "all" and "clips" not in part.free.values() else 3)
    with torch.inference_mode():
        expected = part.module(x)
    with torch.no_grad():
        found = form.run(path, part, x)
    differences = {name: _difference(*pair) for name, *pair in zip(part.gives, found, expected, strict=True)}
    worst = {name: _share(name, differences[name], values) for name, values in zip(part.gives, expected, strict=True)}
    # Written so that a NaN is refused too.
    if far := [name for name, share in worst.items() if not share <= TOLERANCE]:
        raise ComixError(
            f"the exported file gives other {' and '.join(far)} than the model, so it was not kept",
            [f"{name}: {differences[name]:.2e} apart at most" for name in far],
            hint="choose another --format, and report this with the versions of torch and onnx",
        )
    return differences


def _difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise ComixError(f"the exported file gives {list(found.shape)}, the model {list(expected.shape)}")
    return float((found - expected).abs().max())


def _share(name: str, difference: float, expected: Tensor) -> float:
    return difference if name == "probabilities" else difference / max(1.0, float(expected.abs().max()))
