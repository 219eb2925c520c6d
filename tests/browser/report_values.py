"""Made-up values of the report page: of any size, the same for the same arguments, consistent among themselves."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from comix_fast.intervals import summarise
from comix_fast.report.page import write
from comix_fast.report.report_page import report_page
from comix_fast.stages.curves import RIGHT_AMONG_THESE, TARGET_ACCURACY, WOULD_BE_LABELLED

Values = dict[str, Any]
HOSTILE = "<img src=x onerror=alert(1)>"
NAMES = ("handshake", "hug", "kick", "point", "punch", "push", "wave", "jump", "squat", "walk", "spin", "climb")
STEPS = (50, 100, 150, 200, 250, 300)
NO_PICTURES = "no pictures: the videos are not where the cache says: give --videos"
_ONLY_HEAD = {"warmstart": "source-only", "supervised": "last"}


def write_report(values: Mapping[str, Any], out: Path) -> Path:
    """The page at `out`, which is returned."""
    write(report_page(values), out)
    return out


def report_values(
    runs: int = 1,
    n_classes: int = 6,
    seeds: int = 3,
    n_source: int = 60,
    n_target: int = 60,
    *,
    labels: bool = True,
    with_map: bool = True,
    pictures: bool = True,
    phases: Sequence[str] = ("warmstart", "adapt"),
    hostile: bool = False,
) -> Values:
    """What comix_fast/report gathers, made up. phases: as in metrics.jsonl; without "adapt" there is one head."""
    classes = [NAMES[c] if c < len(NAMES) else f"action {c:03}" for c in range(n_classes)]
    if hostile:
        classes[1] = HOSTILE
        classes[2] = "</script><script>alert(2)</script>"
    videos = _videos(n_source, n_target, n_classes, labels, pictures, hostile)
    made = [_run(n, classes, seeds, videos, labels, with_map, tuple(phases), hostile) for n in range(runs)]
    fields = [{"name": "lambda_teacher", "values": [str(0.03 * n) for n in range(runs)]}] if runs > 1 else []
    return {
        "made": {
            "version": "0.0.0",
            "command": f"comix report {' '.join(r['path'] for r in made)}",
            "on": "2026-11-22",
        },
        "notes": [] if with_map else ["no map: the cache is not where the run says; pass --cache"],
        "differences": {"fields": fields, "n_same": 24 if runs > 1 else 0},
        "pictures": {
            "kind": "still" if pictures else "none",
            "note": "" if pictures else NO_PICTURES,
            "items": [_picture(n) for n in range(n_classes)] if pictures else [],
        },
        "runs": made,
    }


def _videos(
    n_source: int, n_target: int, n_classes: int, labels: bool, pictures: bool, hostile: bool
) -> list[dict[str, Any]]:
    videos = []
    for role, n in (("source", n_source), ("target", n_target)):
        for i in range(n):
            label = i % n_classes
            name = HOSTILE if hostile and i == 0 else f"{role}/{label:03}/{i:04}"
            videos.append(
                {
                    "id": name,
                    "role": role,
                    "label": label if labels or role == "source" else None,
                    "picture": label if pictures else None,
                }
            )
    return videos


def _run(
    number: int,
    classes: list[str],
    n_seeds: int,
    videos: list[dict[str, Any]],
    labels: bool,
    with_map: bool,
    phases: tuple[str, ...],
    hostile: bool,
) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    adapts = "adapt" in phases
    heads = ["source-only", "last", "selected"] if adapts else [_ONLY_HEAD[phases[0]]]
    truth = np.array([i % len(classes) for i in range(sum(video["role"] == "target" for video in videos))])
    rates = {"source-only": 0.72, "last": 0.86 + 0.02 * number, "selected": 0.84}
    guessed = {h: [_guess(rng, truth, len(classes), rates[h]) for _ in range(n_seeds)] for h in heads}
    counts = {h: [_confusion(truth, one) for one in g] for h, g in guessed.items()}
    accuracy = {h: [float((one == truth).mean()) for one in g] for h, g in guessed.items()}
    row_of = {"warmstart": heads[0], "adapt": "last", "supervised": heads[-1]}
    paths = {phase: [_path(end) for end in accuracy[row_of[phase]]] for phase in phases}
    names = {"warmstart": "source-only", "adapt": "+ teacher", "supervised": "target-supervised"}
    bound = phases == ("supervised",)
    measured = f"{len(truth)} videos of set2: the ones adapted on, without their labels (transductive)"
    rows = [_row(names[phase], phase, paths[phase], labels) for phase in phases]
    return {
        "name": HOSTILE if hostile else f"ut-{number}a2b3c4d",
        "path": f"runs/ut-{number}a2b3c4d",
        "method": names[phases[-1]],
        "imported": False,
        "bound": bound,
        "began_with": None,
        "source": "set1",
        "target": "set2",
        "measured_on": measured if labels else "set2 has no labels, so there is no accuracy; see predictions.csv",
        "transductive": True,
        "n_labelled": len(truth) if labels else 0,
        "selection": "infomax on the target's unlabelled training videos",
        "warnings": ["2 videos of set1 are shorter than 8 frames"] if number else [],
        "notes": ["made up for a test"],
        "classes": classes,
        "seeds": list(range(n_seeds)),
        "recipe": _recipe(number),
        "rows": rows,
        "gain": _gain(rows, labels),
        "over_first": {"points": 2.0 * number, "low": -0.5, "high": 4.5} if number and labels else None,
        "curves": _curves(rng, paths, n_seeds, labels),
        "heads": heads,
        "head_names": {
            "source-only": "source-only",
            "last": names["supervised"] if bound else "last step",
            "selected": "step chosen without labels",
        },
        "before": "source-only" if adapts else None,
        "after": "last" if "last" in heads else heads[0],
        "confusion": {"counts": counts} if labels else None,
        "map": _map(np.random.default_rng(100 + number), videos, len(classes), guessed, labels) if with_map else None,
        "map_missing": None if with_map else "the cache is not where the run says: pass --cache",
    }


def _guess(rng: np.random.Generator, truth: np.ndarray, n_classes: int, rate: float) -> np.ndarray:
    """Right at about `rate`, less for higher classes; wrong ones mostly go to the next class."""
    falling = rate + 0.1 - 0.2 * truth / n_classes
    wrong = np.where(rng.random(len(truth)) < 0.7, truth + 1, rng.integers(0, n_classes, len(truth))) % n_classes
    return np.where(rng.random(len(truth)) < falling, truth, wrong)


def dense(counts: Sequence[Sequence[Sequence[int]]], n_classes: int) -> np.ndarray:
    """[seed, true, predicted] counts from each seed's triples."""
    found = np.zeros((len(counts), n_classes, n_classes), dtype=int)
    for seed, triples in enumerate(counts):
        for true, predicted, n in triples:
            found[seed, true, predicted] = n
    return found


def _confusion(truth: np.ndarray, guessed: np.ndarray) -> list[list[int]]:
    seen = Counter(zip(truth.tolist(), guessed.tolist(), strict=True))
    return [[true, predicted, seen[true, predicted]] for true, predicted in sorted(seen)]


def _gain(rows: Sequence[Mapping[str, Any]], labels: bool) -> dict[str, Any] | None:
    if len(rows) < 2 or not labels:
        return None
    early, late = (row["choices"]["last"]["values"] for row in rows)
    over = summarise([b - a for a, b in zip(early, late, strict=True)])
    return {"mean": over.mean, "half_width": over.half_width}


def _path(end: float) -> list[float]:
    """An accuracy at every evaluation: it rises past `end`, which it comes back to."""
    return [max(0.0, end - 0.2), max(0.0, end - 0.1), end, min(1.0, end + 0.02), max(0.0, end - 0.01), end]


def _row(name: str, phase: str, paths: list[list[float]], labels: bool) -> dict[str, Any]:
    choices = {}
    for choice, place in (("last", 5), ("selected", 4), ("oracle", 3)):
        values = [path[place] for path in paths]
        over = summarise(values)
        choices[choice] = {
            "values": values if labels else None,
            "mean": over.mean if labels else None,
            "half_width": over.half_width if labels else None,
            "text": over.text() if labels else "–",
            "iterations": [STEPS[place]] * len(values),
        }
    return {"name": name, "phase": phase, "choices": choices}


def _recipe(number: int) -> list[dict[str, str]]:
    entries = {
        "method": {"method": "comix", "lambda_teacher": str(0.03 * number), "lambda_bgm": "0.0"},
        "head": {"head": "linear", "statistics": "mean+max+std+change+peak-change", "feature_norm": "domain"},
        "schedule": {"warmstart_iterations": "300", "iterations": "300", "batch_size": "8", "lr": "0.01"},
        "features": {"backbone": "i3d, kinetics400 weights, bf16", "views": "plain, bgmix (2 draws)"},
        "selection": {"select_by": "infomax", "eval_every": "50"},
    }
    return [{"name": n, "value": v, "group": group} for group, fields in entries.items() for n, v in fields.items()]


def _curves(
    rng: np.random.Generator, paths: Mapping[str, list[list[float]]], n_seeds: int, labels: bool
) -> list[dict[str, Any]]:
    """terms: label, kind, used, whether the target's labels told it, first and last value."""
    terms = {
        "cls": ("classification (source labels)", "loss", True, False, 0.9, 0.4),
        "teacher": ("teacher on the target", "loss", True, False, 0.35, 0.1),
        "coverage": (f"{WOULD_BE_LABELLED} (p ≥ 0.7)", "pseudo", False, False, 0.4, 0.8),
        "precision": (f"{RIGHT_AMONG_THESE} (p ≥ 0.7)", "pseudo", False, True, 0.95, 0.88),
        "infomax": ("infomax (no labels)", "score", True, False, 0.4, 0.6),
    }
    curves = []
    for phase in paths:
        for term, (label, kind, used, with_labels, first, last) in terms.items():
            if phase == "supervised" or (phase != "adapt" and term == "teacher") or (with_labels and not labels):
                continue
            lines = np.linspace(first, last, len(STEPS)) + rng.normal(0, 0.015, (n_seeds, len(STEPS)))
            curves.append(_curve(phase, term, (label, kind, used, with_labels), np.round(lines, 4).tolist()))
        if labels:
            told = ("target accuracy", "accuracy", False, True)
            curves.append(_curve(phase, TARGET_ACCURACY, told, paths[phase]))
    return curves


def _curve(phase: str, term: str, told: tuple[str, str, bool, bool], lines: list[list[float]]) -> dict[str, Any]:
    label, kind, used, with_labels = told
    series = [{"seed": seed, "x": list(STEPS), "y": line} for seed, line in enumerate(lines)]
    entry = {"phase": phase, "term": term, "label": label, "kind": kind, "used": used}
    return {**entry, "measured_with_labels": with_labels, "series": series}


def _map(
    rng: np.random.Generator,
    videos: list[dict[str, Any]],
    n_classes: int,
    guessed: Mapping[str, list[np.ndarray]],
    labels: bool,
) -> dict[str, Any]:
    target = [n for n, video in enumerate(videos) if video["role"] == "target"]
    kinds = np.array(
        [n % n_classes for n in range(len(videos) - len(target))] + [n % n_classes for n in range(len(target))]
    )
    shifted = np.array([video["role"] == "target" for video in videos])
    angles = 2 * np.pi * kinds / n_classes
    spaces = []
    for name, shift in (("backbone", 330), *((head, 90) for head in guessed)):
        x = 430 + 260 * np.cos(angles) + shift * shifted * 0.4 + rng.normal(0, 38, len(videos))
        y = 500 + 330 * np.sin(angles) + shift * shifted * 0.3 + rng.normal(0, 38, len(videos))
        predicted: list[int | None] | None = None
        confidence: list[float | None] | None = None
        if name != "backbone":
            predicted = [int(kind) for kind in kinds]
            for place, guess in zip(target, guessed[name][0], strict=True):
                predicted[place] = int(guess)
            confidence = [round(float(c), 3) for c in rng.uniform(0.4, 1, len(videos))]
        label = "I3D features, as the backbone gives them" if name == "backbone" else f"embedding of the {name} head"
        space = {"name": name, "label": label, "predicted": predicted, "confidence": confidence}
        spaces.append(
            space | {"x": np.clip(x, 0, 1000).astype(int).tolist(), "y": np.clip(y, 0, 1000).astype(int).tolist()}
        )
    shares = {space["name"]: 0.12 + 0.1 * n for n, space in enumerate(spaces)}
    return {
        "seed": 0,
        "method": "t-SNE of PCA to 50 dimensions, perplexity 30, seed 0",
        "videos": videos,
        "spaces": spaces,
        "before": "source-only" if "source-only" in guessed else "backbone",
        "after": "last" if "last" in guessed else next(iter(guessed)),
        "neighbours": {
            "k": 5,
            "spaces": {
                name: {"cross_share": share, "cross_expected": 0.504, "cross_right": 0.8 if labels else None}
                for name, share in shares.items()
            },
        },
        "picture_note": "" if videos[0]["picture"] is not None else NO_PICTURES,
    }


def _picture(number: int) -> dict[str, Any]:
    image = Image.new("RGB", (128, 96), ((37 * number) % 200 + 30, (91 * number) % 200 + 30, 120))
    ImageDraw.Draw(image).ellipse((20 + 3 * number % 60, 20, 60 + 3 * number % 60, 76), fill=(240, 240, 230))
    written = io.BytesIO()
    image.save(written, "WEBP", quality=60)
    return {"src": f"data:image/webp;base64,{base64.b64encode(written.getvalue()).decode()}", "w": 128, "h": 96}
