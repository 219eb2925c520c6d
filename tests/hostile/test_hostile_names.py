"""Names of classes, domains and files: markup, control characters, changed direction, Unicode forms, endless ones."""

from __future__ import annotations

import time
import unicodedata
from pathlib import Path

import pytest

from comix_fast.datasets import check_files, load_folders
from comix_fast.datasets.naming import require_classes
from comix_fast.errors import DatasetError
from comix_fast.printable import is_plain, printable

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def folders(root: Path, *classes: str, suffix: str = ".mp4") -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / f"video{suffix}").touch()
    return root


@pytest.mark.parametrize(
    "name", ["[red]walk", "<script>", "$(rm -rf ~)", "%s%n", "{x}", "*", "日本語", "a\u200cb", "🤸"]
)
def test_markup_is_a_name_like_any_other(tmp_path: Path, name: str) -> None:
    source, target = (folders(tmp_path / domain, name, "wave") for domain in "ab")
    dataset = check_files(load_folders(source, target))
    assert set(dataset.classes) == {name, "wave"}
    assert printable(name) == name


@pytest.mark.parametrize(
    "name",
    ["a\x1b[2J", "a\nb", "a\rb", "a\tb", "a\x7f", "a\x9b", "a\u2028b", "a\u202eb", "a\u2067b", "\udcff", "a\x08b"],
)
def test_control_characters_are_refused_and_written_out(tmp_path: Path, name: str) -> None:
    assert not is_plain(name)
    assert printable(name).isprintable()
    with pytest.raises(DatasetError, match="1 of 2 names in classes hold control characters") as refused:
        require_classes([name, "wave"], "classes")
    assert str(refused.value).replace("\n", "").isprintable()
    source, target = (folders(tmp_path / domain, name, "wave") for domain in "ab")
    with pytest.raises(DatasetError, match="hold control characters"):
        load_folders(source, target)


def test_a_file_that_is_passed_over_is_written_out(tmp_path: Path) -> None:
    source, target = (folders(tmp_path / domain, "walk", "wave") for domain in "ab")
    (source / "walk" / "notes\x1b]0;owned\x07.txt").touch()
    notes = load_folders(source, target).notes
    assert any(r"notes\x1b]0;owned\x07.txt" in note for note in notes)
    assert all(note.isprintable() for note in notes)


def test_one_name_in_two_unicode_forms(tmp_path: Path) -> None:
    assert COMPOSED != DECOMPOSED
    with pytest.raises(DatasetError, match="1 of 3 class names in classes stand there more than once"):
        require_classes([COMPOSED, "wave", DECOMPOSED], "classes")
    assert require_classes([DECOMPOSED, "wave"], "classes") == (DECOMPOSED, "wave")
    source, target = folders(tmp_path / "a", COMPOSED, "wave"), folders(tmp_path / "b", DECOMPOSED, "wave")
    with pytest.raises(DatasetError, match="1 look the same and are written in different Unicode forms"):
        load_folders(source, target)


def test_names_of_ten_thousand_characters() -> None:
    with pytest.raises(DatasetError, match="1 of 2 class names in classes have more than 200 characters") as refused:
        require_classes(["x" * 10_000, "wave"], "classes")
    assert "(10,000)" in str(refused.value)
    assert len(str(refused.value)) < 300
    assert require_classes(["x" * 200, "wave"], "classes")


def test_very_many_names_take_no_time() -> None:
    names = [f"class {number}" for number in range(100_000)]
    begun = time.monotonic()
    assert len(require_classes(names, "classes")) == 100_000
    with pytest.raises(DatasetError, match="1 of 100,001"):
        require_classes([*names, "class 7"], "classes")
    assert time.monotonic() - begun < 5


def test_texts_are_shortened_in_the_middle() -> None:
    assert printable("a" * 300, 11) == "aaaaa…aaaaa"
    assert printable("short", 11) == "short"
    assert printable("a\x00b\ud800é\u202e") == r"a\x00b\ud800é\u202e"
