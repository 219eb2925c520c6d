"""The JSON of a cache, checked: marks, hash, every byte of the text, and whether what it says makes sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comix_fast.cache import format as form
from comix_fast.cache.findings import Ledger, Remedy
from comix_fast.cache.lists import DOMAINS, SPLITS
from comix_fast.cache.parts import PARTS
from comix_fast.cache.stated import stated_recipe
from comix_fast.cache.stored_json import SHA256, json_text, read_json, read_marked
from comix_fast.cache.whereabouts import read_whereabouts
from comix_fast.config import ExtractRecipe, differences, digest
from comix_fast.errors import CacheError
from comix_fast.printable import is_plain


@dataclass
class Listed:
    """What a dataset.json says, as far as it makes sense.

    train, test: ids by domain, in order. domain_of, labels: by id. training: ids of all training videos.
    """

    n_classes: int
    train: dict[str, list[str]] = field(default_factory=dict)
    test: dict[str, list[str]] = field(default_factory=dict)
    domain_of: dict[str, str] = field(default_factory=dict)
    training: set[str] = field(default_factory=set)
    labels: dict[str, int] = field(default_factory=dict)


def check_manifest(manifest: Any, name: str, ledger: Ledger) -> tuple[str | None, ExtractRecipe | None]:
    """The key and the recipe, each None where it can't be told."""
    if manifest is None:
        return None, None
    key, stated, warnings = (manifest.get(field) for field in ("key", "recipe", "warnings"))
    ledger.require(key == digest(stated), name, "the key is not that of the recipe", remedy="recipe")
    ledger.require(_texts(warnings), name, "the warnings are no list of sentences", remedy="recipe")
    known = key if isinstance(key, str) else None
    ledger.counts.invariants += 1
    try:
        recipe = stated_recipe(stated)
    except CacheError as error:
        ledger.add(name, error.message, remedy="recipe")
        return known, None
    if unknown := differences(stated, recipe.to_json()):
        ledger.note(name, "the recipe says more than this comix-fast knows of", unknown)
    return known, recipe


def check_dataset(dataset: Any, name: str, ledger: Ledger) -> Listed | None:
    """The lists; None where they can't be told."""
    if dataset is None:
        return None

    def holds(sound: bool, what: str, names: Iterable[str] = ()) -> bool:
        return ledger.require(sound, name, what, names, "recipe")

    classes: Any = dataset.get("classes")
    if not holds(_texts(classes), "the classes are no list of names"):
        return None
    odd = [one for one in classes if not one.strip() or not is_plain(one)]
    holds(not odd, "classes have names that are empty or no plain text", odd)
    holds(not (twice := repeated(classes)), "classes are named twice", twice)
    holds(_texts(dataset.get("notes", [])), "the notes are no list of sentences")
    listed = Listed(len(classes))
    for domain in DOMAINS:
        stated: Any = dataset.get(domain)
        if not holds(isinstance(stated, dict), f"there is no domain {domain}"):
            return None
        called = stated.get("name")
        holds(isinstance(called, str) and is_plain(called), f"the {domain}'s name is no plain text")
        for split in SPLITS:
            _check_list(stated.get(split), domain, split, name, listed, ledger)
    ids = {domain: {*listed.train[domain], *listed.test[domain]} for domain in DOMAINS}
    both = sorted(ids["source"] & ids["target"])
    holds(not both, "videos are listed in both domains", both)
    return listed


def _check_list(stated: Any, domain: str, split: str, name: str, listed: Listed, ledger: Ledger) -> None:
    which = f"the {domain}'s {split} list"
    ids: list[str] = []
    (listed.train if split == "train" else listed.test)[domain] = ids
    if stated is None and split == "test":
        return
    if not ledger.require(isinstance(stated, list), name, f"{which} is missing", (), "recipe"):
        return
    pairs = [one for one in stated if isinstance(one, list) and len(one) == 2 and isinstance(one[0], str)]
    what = f"{which} holds more than pairs of id and label"
    ledger.require(len(pairs) == len(stated), name, what, (), "recipe")
    ids += [video for video, _ in pairs]
    odd = (video for video in ids if not video.strip() or not is_plain(video))
    ledger.require_each(odd, len(ids), name, f"{which} has ids that are empty or no plain text", "recipe")
    labels = (
        f"{video}: {label!r:.40}"
        for video, label in pairs
        if label is not None and (type(label) is not int or not 0 <= label < listed.n_classes)
    )
    what = f"{which} has labels outside the {listed.n_classes} classes"
    ledger.require_each(labels, len(ids), name, what, "recipe")
    twice = repeated(ids)
    ledger.require(not twice, name, f"{which} has videos twice", twice, "recipe")
    listed.domain_of.update(dict.fromkeys(ids, domain))
    listed.labels.update({video: label for video, label in pairs if type(label) is int})
    if split == "train":
        listed.training.update(ids)


def check_failures(stated: Any, name: str, ledger: Ledger) -> None:
    """A list of videos that could not be read."""
    if ledger.require(isinstance(stated, list), name, "there is no list of failures", remedy="remove"):
        odd = (f"number {number}" for number, one in enumerate(stated, 1) if not _is_failure(one))
        ledger.require_each(odd, len(stated), name, "failures that are not id, path and reason", "remove")


def check_failures_file(root: Path, ledger: Ledger) -> None:
    """The failures of a cache's folder, where it has any."""
    path = root / form.FAILURES
    if not path.exists():
        return
    try:
        bare = read_json(path)
    except CacheError as error:
        ledger.refuse(path.name, path, error, "remove")
        return
    if isinstance(bare, list):  # as form 1 has it
        _count(path, ledger, hashed=False)
        check_failures(bare, path.name, ledger)
    elif (document := read_document(path, "comix-failures", ledger, "remove")) is not None:
        check_failures(document.get("failures"), path.name, ledger)


def check_parts(root: Path, ledger: Ledger) -> None:
    """The records of parts; those that are not finished are noted."""
    for path in sorted((root / PARTS).glob("*.json")):
        name = f"{PARTS}/{path.name}"
        record = read_document(path, "comix-part", ledger, "part", name)
        if record is None:
            continue
        number, of = record.get("part"), record.get("of")
        whole = all(type(value) is int and value >= 1 for value in (number, of, record.get("shard_size")))
        sound = whole and isinstance(record.get("lists"), str) and isinstance(record.get("finished"), bool)
        if ledger.require(sound, name, "it does not say which part of what it records", (), "part"):
            mine = path.stem == f"{number}-of-{of}"
            ledger.require(mine, name, f"it records part {number} of {of}", (), "part")
            if not record["finished"]:
                ledger.note(name, f"part {number} of {of} is not finished")
        check_failures(record.get("failures"), name, ledger)


def check_whereabouts(root: Path, ledger: Ledger) -> None:
    """The hint where the videos are: nothing hangs on it, so that damage to it is a note."""
    path = root / form.VIDEOS
    ledger.counts.invariants += 1
    try:
        if read_whereabouts(root) is not None:
            _count(path, ledger, hashed=True)
    except CacheError as error:
        ledger.note(form.VIDEOS, f"the hint where the videos are is of no use: {error.message}")


def read_document(path: Path, encoding: str, ledger: Ledger, remedy: Remedy, name: str = "") -> dict[str, Any] | None:
    """A JSON file, its marks, its hash and every byte of its text checked; None where it can't be read."""
    name = name or path.name
    ledger.counts.invariants += 1
    try:
        value = read_marked(path, encoding)
        hashed = str(value[form.ENCODING_VERSION]) >= form.HASHED_SINCE[encoding]
        text = path.read_bytes()
        exact = not hashed or json_text(read_json(path)).encode("utf-8", "surrogatepass") == text
    except (CacheError, OSError) as error:
        ledger.refuse(name, path, error, remedy)
        return None
    _count(path, ledger, hashed)
    what = "its text is not as comix-fast writes it: something around its values has changed"
    ledger.require(exact, name, what, (), remedy)
    what = "it has a hash, and says that it is of form 1, which has none"
    ledger.require(SHA256 not in value, name, what, (), remedy)
    return value


def _count(path: Path, ledger: Ledger, hashed: bool) -> None:
    ledger.counts.files += 1
    ledger.counts.n_bytes += path.stat().st_size
    ledger.counts.unhashed += not hashed


def _is_failure(one: Any) -> bool:
    return isinstance(one, dict) and all(isinstance(one.get(name), str) for name in ("id", "path", "reason"))


def repeated(names: Iterable[str]) -> list[str]:
    """Those that stand there more than once."""
    return [name for name, count in Counter(names).items() if count > 1]


def _texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)
