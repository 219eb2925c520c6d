"""`comix cache verify`: check every byte of a cache, extract some of its videos again, say what is wrong."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.backbones import Backbone, load_backbone
from comix_fast.backbones.weights import KINETICS, RANDOM
from comix_fast.cache import FeatureCache
from comix_fast.cache.findings import Finding, Remedy, Verified
from comix_fast.cache.verify import verify
from comix_fast.commands.asked import Where
from comix_fast.commands.machine import choose_device, set_threads
from comix_fast.commands.weights_of_run import resolve_weights
from comix_fast.config import ExtractRecipe, differences
from comix_fast.console import Reporter
from comix_fast.errors import SHOWN, CacheError, DatasetError, WeightsError
from comix_fast.printable import printable
from comix_fast.stages.draws import draw_mix
from comix_fast.stages.pipeline import Machine
from comix_fast.stages.recompute import Again, Recomputed, recipe_to_recompute, recompute
from comix_fast.tables import plain_table
from comix_fast.video import Decoder, DecoderError, choose_decoder

SHOWN_FILES = 20
LONGEST_NAME = 200

REMEDIES: dict[Remedy, str] = {
    "extract": "delete these and run the same extract again, which fills the gap, or bring them back from a copy",
    "part": "delete these and run the same parts again, or bring them back from a copy",
    "recipe": "bring these back from a copy; or begin the same extract with another --out, which writes the same "
    "manifest.json and dataset.json at once, and copy them",
    "copy": "bring these back from a copy; a compacted cache can be made anew from the folder it was made of",
    "remove": "take these out of the cache",
    "update": "update comix-fast to read these",
}
"""In the order in which they are given."""


@dataclass(frozen=True)
class Recomputing:
    """What is asked of --recompute. n_videos: 0 for none; weights: None for those that the recipe names; device:
    None for that of the recipe, where it is here."""

    n_videos: int = 0
    seed: int = 0
    weights: str | None = None
    device: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Checked:
    """What was found; recomputed: None where nothing was, and why not."""

    verified: Verified
    recomputed: Recomputed | None = None
    not_recomputed: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, and all that was to be recomputed was."""
        agrees = self.recomputed is None or self.recomputed.agrees
        return self.verified.sound and agrees and not self.not_recomputed


def run(cache: Path, where: Where, asked: Recomputing, reporter: Reporter) -> Checked:
    """Checks the cache, and if asked extracts some videos again. Raises ComixError for what can't even be begun."""
    named = where != Where()
    if named and not asked.n_videos:
        raise DatasetError("a dataset is named for --recompute alone", hint="add --recompute N, or leave it out")
    # What was typed wrongly is said before an hour of hashing.
    dataset = where.dataset() if asked.n_videos else None
    verified = verify(cache, reporter, draw_mix)
    if dataset is None:
        return Checked(verified)
    try:
        opened = FeatureCache(cache)
    except CacheError as error:
        if verified.sound:
            raise
        return Checked(verified, not_recomputed=f"nothing was extracted again: {error.message}")
    recipe = recipe_to_recompute(opened)
    machine = _machine(recipe, asked, reporter)
    again = recompute(opened, dataset, machine, n_videos=asked.n_videos, seed=asked.seed, reporter=reporter)
    return Checked(verified, again)


def _machine(recipe: ExtractRecipe, asked: Recomputing, reporter: Reporter) -> Machine:
    set_threads(asked.threads)
    device = choose_device(asked.device or ("auto" if recipe.device == "cuda" else "cpu"))
    backbone = load(recipe, asked.weights, device)
    reporter.say(f"{backbone.name}, {backbone.weights_name} weights, {backbone.precision} on {device}")
    return Machine(backbone, _decoder(recipe, reporter), torch.device(device), asked.threads or torch.get_num_threads())


def _decoder(recipe: ExtractRecipe, reporter: Reporter) -> Decoder:
    try:
        return choose_decoder(recipe.decoder["name"])
    except DecoderError as error:
        reporter.warn(f"{error.message}; decoding with PyAV instead")
        return choose_decoder("pyav")


def load(recipe: ExtractRecipe, weights: str | None, device: str) -> Backbone:
    """The backbone of a recipe, with the very weights that it names.

    weights: as typed; None for those of the recipe, if they have a name. Raises WeightsError if they are others.
    """
    stated = recipe.backbone
    digest = str(stated.get("weights_sha256"))
    named = weights or str(stated.get("weights"))
    if named not in (KINETICS, RANDOM) and weights is None:
        raise WeightsError(
            f"the cache's weights came from a file, whose tensors' sha256 starts with {digest[:12]}",
            hint="name it: --weights FILE, or the run that trained it",
        )
    backbone = load_backbone(
        str(stated.get("name")),
        resolve_weights(named),
        str(stated.get("precision")),
        device,
        compiled=bool(stated.get("compiled", False)),
    )
    if backbone.weights_sha256 != digest:
        raise WeightsError(
            f"{named} are not the weights of this cache",
            [f"sha256 of their tensors: {backbone.weights_sha256[:12]}…, of the cache's: {digest[:12]}…"],
            hint="give the file that its features were extracted with",
        )
    if others := differences({**backbone.recipe(), "weights": stated.get("weights")}, dict(stated)):
        raise WeightsError("this comix-fast computes other features than the cache's", others)
    return backbone


def to_json(checked: Checked) -> dict[str, Any]:
    """For --json."""
    verified = checked.verified
    return {
        "cache": str(verified.cache),
        "sound": checked.sound,
        "findings": [finding.to_json() for finding in verified.findings],
        "notes": [note.to_json() for note in verified.notes],
        "checked": asdict(verified.counts),
        "seconds": round(verified.seconds, 3),
        "recomputed": None if checked.recomputed is None else checked.recomputed.to_json(),
        "not_recomputed": checked.not_recomputed,
    }


def table(checked: Checked) -> RenderableType:
    """For people: what is wrong, file by file, how to mend it, what is worth knowing, and how much was looked at."""
    verified = checked.verified
    lines = [*_by_file(verified.findings), *_mending(verified)]
    if verified.notes:
        lines += ["worth knowing:", *(f"  {line}" for line in _by_what(verified.notes))]
    counts = verified.counts
    rows = [
        ("files", f"{counts.files:,}"),
        ("megabytes", f"{counts.n_bytes / 1e6:,.1f}"),
        ("videos", f"{counts.videos:,}"),
        ("candidate clips", f"{counts.clips:,}"),
        ("rows of features", f"{counts.rows:,}"),
        ("backgrounds", f"{counts.backgrounds:,}"),
        ("statements checked", f"{counts.invariants:,}"),
    ]
    rate = counts.n_bytes / 1e6 / max(verified.seconds, 1e-9)
    title = f"looked at in {verified.seconds:,.1f} s ({rate:,.0f} MB/s)"
    parts: list[RenderableType] = [*(Text(line) for line in lines), plain_table(["", title], rows)]
    if checked.recomputed is not None:
        parts += list(_recomputed(checked.recomputed))
    parts.append(Text(_verdict(checked), style="bold"))
    return Group(*parts)


def _verdict(checked: Checked) -> str:
    verified, again = checked.verified, checked.recomputed
    n_files = len({finding.file for finding in verified.findings})
    said = f"{verified.cache} is sound"
    if not verified.sound:
        said = f"{verified.cache} is not sound: {_things(len(verified.findings))} found in {_files(n_files)}"
    if again is not None:
        differ, n_videos = sum(one.verdict == "different" for one in again.videos), len(again.videos)
        if differ:
            said += f"; {differ:,} of {n_videos:,} videos extracted again {'differs' if differ == 1 else 'differ'}"
        else:
            said += f"; {f'{n_videos:,} videos' if n_videos > 1 else 'one video'} extracted again "
            said += "agree" if n_videos > 1 else "agrees"
    return f"{said}; {checked.not_recomputed}" if checked.not_recomputed else said


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count:,} things"


def _files(count: int) -> str:
    return "one file" if count == 1 else f"{count:,} files"


def _by_file(findings: Sequence[Finding]) -> Iterator[str]:
    grouped: dict[str, list[Finding]] = {}
    for finding in findings:
        grouped.setdefault(finding.file, []).append(finding)
    for file in itertools.islice(grouped, SHOWN_FILES):
        yield _shown(file)
        yield from (f"  {_line(finding)}" for finding in grouped[file])
    if len(grouped) > SHOWN_FILES:
        yield f"… and {_files(len(grouped) - SHOWN_FILES)} more; --json names all of them"


def _by_what(notes: Sequence[Finding]) -> Iterator[str]:
    """The same note on many files is one line, that names the files."""
    grouped: dict[str, list[Finding]] = {}
    for note in notes:
        grouped.setdefault(note.what, []).append(note)
    for what, found in grouped.items():
        files = tuple(note.file for note in found)
        if len(found) > 1:
            yield _line(Finding("", f"{what}, in {_files(len(files))}", files, len(files)))
        else:
            yield f"{_shown(files[0])}{': ' if files[0] else ''}{_line(found[0])}"


def _line(finding: Finding) -> str:
    names = ", ".join(_shown(name) for name in finding.names[:SHOWN])
    more = f", … and {finding.count - SHOWN:,} more" if finding.count > SHOWN else ""
    return f"{printable(finding.what)}{': ' if names else ''}{names}{more}"


def _mending(verified: Verified) -> Iterator[str]:
    """What to do about each kind of damage, with the names of the files."""
    whole = verified.cache.is_file()
    for remedy, advice in REMEDIES.items():
        files = list(
            dict.fromkeys(
                finding.file
                for finding in verified.findings
                if ("copy" if whole and finding.remedy != "update" else finding.remedy) == remedy
            )
        )
        if files:
            yield f"{advice}:"
            root = verified.cache.parent if whole else verified.cache
            yield from (f"  {_shown(shlex.quote(str(root / file)))}" for file in files[:SHOWN_FILES])
            if len(files) > SHOWN_FILES:
                yield f"  … and {len(files) - SHOWN_FILES:,} more; --json names all of them"


def _shown(name: str) -> str:
    return printable(name, LONGEST_NAME)


def _recomputed(again: Recomputed) -> Iterator[RenderableType]:
    columns = ["extracted again", "verdict", "identical", "largest difference", "smallest cosine"]
    yield plain_table(columns, [_row(one) for one in again.videos])
    for one in again.videos:
        for match in one.matches:
            if match.verdict == "different" or match.reason:
                yield Text(f"{_shown(one.video)}, {_shown(match.what)}: {match.verdict}, {_shown(match.reason)}")
    versions = list(dict.fromkeys(line for one in again.videos if one.verdict != "identical" for line in one.versions))
    yield from (Text(_shown(line)) for line in (*again.notes, *versions))


def _row(one: Again) -> list[str]:
    verdict = {"identical": "identical", "rounding": "equal up to rounding", "different": "different"}[one.verdict]
    identical = sum(match.verdict == "identical" for match in one.matches)
    views = [match for match in one.matches if match.what not in ("file", "background")]
    largest, cosine = max((m.largest for m in views), default=0.0), min((m.cosine for m in views), default=1.0)
    return [_shown(one.video), verdict, f"{identical} of {len(one.matches)}", f"{largest:.4g}", f"{cosine:.6f}"]
