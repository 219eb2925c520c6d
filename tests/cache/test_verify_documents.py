"""Forged lists, recipes and failures, hashed anew: each is found by the one check that is meant to find it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from sound_cache import checked, whats, write_sound

from comix_fast.cache.stored_json import json_text, read_json, write_marked

FORGE = Callable[[h5py.File], object]


def change_dataset(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = read_json(root / "dataset.json")
    value.pop("sha256")
    change(value)
    write_marked(root / "dataset.json", "comix-dataset", value)


DATASET: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "classes": (lambda value: value.update(classes="bow"), "the classes are no list of names"),
    "a class": (lambda value: value["classes"].append(" "), "classes have names that are empty or no plain text"),
    "two classes": (lambda value: value["classes"].append("bow"), "classes are named twice"),
    "notes": (lambda value: value.update(notes=[1]), "the notes are no list of sentences"),
    "a domain": (lambda value: value.pop("source"), "there is no domain source"),
    "its name": (lambda value: value["source"].update(name="\x1b[31m"), "the source's name is no plain text"),
    "a list": (lambda value: value["target"].pop("train"), "the target's train list is missing"),
    "a label": (
        lambda value: value["target"]["test"][0].__setitem__(1, 2),
        "the target's test list has labels outside the 2 classes",
    ),
    "a label, true": (
        lambda value: value["target"]["test"][0].__setitem__(1, True),
        "the target's test list has labels outside the 2 classes",
    ),
    "a pair": (
        lambda value: value["target"]["train"].append(["target/3"]),
        "the target's train list holds more than pairs of id and label",
    ),
    "an id": (
        lambda value: value["source"]["train"].append(["a\nb", None]),
        "the source's train list has ids that are empty or no plain text",
    ),
    "twice": (
        lambda value: value["source"]["test"].append(["source/test-0", 0]),
        "the source's test list has videos twice",
    ),
    "in both": (
        lambda value: value["source"]["test"].append(["target/test-0", 0]),
        "videos are listed in both domains",
    ),
}


@pytest.mark.parametrize("forgery", DATASET, ids=str)
def test_each_statement_about_the_lists_finds_what_only_it_finds(root: Path, forgery: str) -> None:
    change, expected = DATASET[forgery]
    change_dataset(root, change)
    found = [finding for finding in checked(root).findings if finding.file == "dataset.json"]
    assert [(finding.what, finding.remedy) for finding in found] == [(expected, "recipe")]


def test_the_manifest_is_checked_too(root: Path) -> None:
    path = root / "manifest.json"
    written = path.read_bytes()

    def changed(**fields: object) -> set[str]:
        value = json.loads(written)
        value.pop("sha256")
        write_marked(path, "comix-cache", value | fields)
        found = whats(root)
        path.write_bytes(written)
        return found

    recipe = json.loads(written)["recipe"]
    assert changed(warnings="made up") == {"the warnings are no list of sentences"}
    assert changed(recipe=recipe | {"batch_size": 17}) == {"the key is not that of the recipe"}
    assert changed(recipe=recipe | {"clips": {}}) == {
        "the key is not that of the recipe",
        "the recipe's clips.length is None",
    }


def test_text_that_means_the_same_is_not_what_was_written(root: Path) -> None:
    expected = "its text is not as comix-fast writes it: something around its values has changed"
    for name in ("manifest.json", "dataset.json", "failures.json"):
        path = root / name
        written = path.read_text()
        path.write_text(written.replace("\n", " \n", 1))
        assert {(one.file, one.what) for one in checked(root).findings} == {(name, expected)}
        path.write_text(written)


def test_a_file_can_not_pass_for_one_of_a_form_without_hashes(root: Path) -> None:
    path = root / "manifest.json"
    path.write_text(json_text(read_json(path) | {"encoding-version": "1", "warnings": []}))
    assert whats(root) == {"it has a hash, and says that it is of form 1, which has none"}


def test_failures_and_parts_are_checked(tmp_path: Path) -> None:
    root = write_sound(tmp_path / "cache", part=True)
    write_marked(root / "failures.json", "comix-failures", {"failures": [{"id": "a", "path": "b"}]})
    record = read_json(root / "parts" / "1-of-2.json")
    record.pop("sha256")
    write_marked(root / "parts" / "2-of-2.json", "comix-part", record)
    write_marked(root / "parts" / "1-of-2.json", "comix-part", record | {"finished": False})
    write_marked(root / "parts" / "1-of-9.json", "comix-part", record | {"shard_size": None})
    done = checked(root)
    assert {(finding.file, finding.what, finding.remedy) for finding in done.findings} == {
        ("failures.json", "failures that are not id, path and reason", "remove"),
        ("parts/2-of-2.json", "it records part 1 of 2", "part"),
        ("parts/1-of-9.json", "it does not say which part of what it records", "part"),
    }
    assert [note.what for note in done.notes] == ["part 1 of 2 is not finished"]
