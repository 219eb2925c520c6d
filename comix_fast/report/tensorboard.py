"""A finished run for TensorBoard: the scalars of its evaluations, embeddings and confusions, written afterwards.

RUN/tensorboard/seed-N holds the scalars and pictures of one seed, and the first seed's folder the embeddings.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor

from comix_fast.cache.reader import FeatureCache
from comix_fast.config import digest
from comix_fast.errors import ComixError, RunError
from comix_fast.printable import printable
from comix_fast.report.confusion_picture import confusion_picture
from comix_fast.stages import runs
from comix_fast.stages.adapt import writing_to
from comix_fast.stages.bank import Banks, FeatureBank, load_banks
from comix_fast.stages.belonging import heads_on
from comix_fast.stages.confusions import confusion, result_column
from comix_fast.stages.curves import TARGET_ACCURACY, loss_terms
from comix_fast.stages.measuring import predict_logits
from comix_fast.stages.results import Line
from comix_fast.stages.retrieve import hidden_means
from comix_fast.stages.runs import RunFolder
from comix_fast.stages.seen import Seen

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "tensorboard"
MOST_DIMENSIONS, MOST_VIDEOS = 128, 10_000
"""Of the embeddings: wider ones are cut to their principal components, of more videos some are left out, evenly. They
are written as text, and the page that shows them reduces them in the same way."""
NOT_USED = "(not used)"
COLUMNS = ("id", "domain", "label", "predicted")


def require_tensorboard() -> type[SummaryWriter]:
    """What writes. Raises ComixError where the extra is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ComixError(
            f"--tensorboard needs the package tensorboard: {error}", hint='pip install "comix-fast[tensorboard]"'
        ) from error
    return SummaryWriter


def write_tensorboard(run: RunFolder, cache: FeatureCache | None) -> Path:
    """Writes RUN/tensorboard from what the run holds, anew and whole; returns it.

    cache: the run's own, for embeddings of its source and target videos; None leaves them out, as does a bound, which
    keeps no head. Raises RunError if the cache is not the run's, or another process writes to it; ComixError where the
    extra is not installed.
    """
    new_writer = require_tensorboard()
    with writing_to(run.root):
        fresh, path = run.root / f".{FOLDER}.fresh", run.root / FOLDER
        for leftover in (fresh, run.root / f".{FOLDER}.old"):
            _remove(leftover)
        for seed in run.recipe.seed_list:
            writer = new_writer(str(fresh / f"seed-{seed}"))
            try:
                _write_seed(writer, run, seed)
                if cache is not None and seed == run.recipe.seed:
                    _write_embeddings(writer, run, cache)
            finally:
                writer.close()
        _put(fresh, path, run.root / f".{FOLDER}.old")
    return path


def _put(fresh: Path, path: Path, old: Path) -> None:
    """A killed process leaves the old folder, or none, or the fresh one; never a part of it."""
    if path.exists() or path.is_symlink():
        path.rename(old)
    fresh.rename(path)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_seed(writer: SummaryWriter, run: RunFolder, seed: int) -> None:
    for line in run.seed(seed).metrics():
        for tag, value in scalars(line):
            writer.add_scalar(f"{line['phase']}/{tag}", value, line["iteration"])
    for head in dict.fromkeys((*_heads(run), result_column(run))):
        if (found := confusion(run, head, [seed])) is not None:
            writer.add_image(f"confusion {NOT_USED}/{head}", confusion_picture(found), dataformats="HWC")


def scalars(line: Line) -> Iterator[tuple[str, float]]:
    """Tag and value of every finite number of one evaluation; what target labels measure is marked as not used."""
    values: dict[str, Any] = {f"loss/{name}": value for name, value in loss_terms(line).items()}
    # A share of each batch, beside the losses in the line.
    if "loss/confident" in values:
        values["pseudo/confident in training"] = values.pop("loss/confident")
    values |= {f"score/{name}": value for name, value in line.get("scores", {}).items()}
    pseudo = line.get("pseudo", {})
    values |= {"pseudo/coverage": pseudo.get("coverage"), f"pseudo/precision {NOT_USED}": pseudo.get("precision")}
    values[f"target accuracy {NOT_USED}"] = line.get(TARGET_ACCURACY)
    for tag, value in values.items():
        if value is not None and math.isfinite(value):
            yield tag, float(value)


def _heads(run: RunFolder) -> list[str]:
    """Before and after, of the heads that a run keeps; none of a bound's."""
    return [] if run.recipe.method == "target-supervised" else list(dict.fromkeys((runs.SOURCE_ONLY, run.result)))


def _write_embeddings(writer: SummaryWriter, run: RunFolder, cache: FeatureCache) -> None:
    if not _heads(run):
        return
    banks = load_banks(cache, mixed=False, reverse=run.recipe.reverse)
    fitting = _fitting(run, cache, banks)
    banks, norms = Seen(banks).banks(run.recipe), run.load_norms()
    of = {"source": banks.source, "target": banks.measured}
    for name in _heads(run):
        if name not in fitting:
            continue
        head = run.load_head(run.recipe.seed, name)
        vectors, rows = [], []
        for domain, bank in of.items():
            vectors.append(hidden_means(head, bank, norms[domain]).numpy())
            predicted = predict_logits(head, bank, norms[domain]).argmax(dim=1)
            rows += _metadata(bank, domain, predicted, cache.classes)
        shown = np.concatenate(vectors)
        some = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_VIDEOS)).round().astype(int))
        matrix = torch.from_numpy(_narrowed(shown[some]))
        writer.add_embedding(matrix, [rows[place] for place in some], tag=name, metadata_header=list(COLUMNS))


def _fitting(run: RunFolder, cache: FeatureCache, banks: Banks) -> list[str]:
    """The heads of the first seed that take the cache's features. Raises RunError if it is not the run's cache."""
    fitting = heads_on(cache, run, run.seed(run.recipe.seed))
    same = tuple(run.meta["classes"]) == tuple(cache.classes)
    if run.meta["cache_key"]:
        lists = {"source": banks.source, "target": banks.target, "measured": banks.measured}
        same &= all(run.meta["dataset"][name]["ids"] == digest(bank.ids) for name, bank in lists.items())
    if not fitting or not same:
        raise RunError(
            f"the features in {cache.path} are not those of {run.root}, or not any more",
            hint="give the cache that the run belongs to, or adapt again",
        )
    return fitting


def _metadata(bank: FeatureBank, domain: str, predicted: Tensor, classes: tuple[str, ...]) -> list[list[str]]:
    """A row below COLUMNS for each video. Tabs and line breaks in names are written out: here they end a cell."""
    return [
        [printable(video), domain, printable(classes[label]) if label >= 0 else "–", printable(classes[taken])]
        for video, label, taken in zip(bank.ids, bank.labels.tolist(), predicted.tolist(), strict=True)
    ]


def _narrowed(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """[V, E] -> the same, or [V, at most MOST_DIMENSIONS], its principal components, drawn alike every time."""
    if vectors.shape[1] <= MOST_DIMENSIONS:
        return vectors
    parts = min(MOST_DIMENSIONS, *vectors.shape)
    narrow = PCA(parts, svd_solver="randomized", random_state=0).fit_transform(vectors)
    return np.asarray(narrow, np.float32)
