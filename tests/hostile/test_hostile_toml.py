"""Dataset files from strangers: TOML that lies, climbs, nests without end or takes the parser for ever."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from comix_fast.datasets import load_toml
from comix_fast.errors import DatasetError

TOML = """
name = "two"
classes = ["walk", "wave"]
[source]
name = "indoors"
root = "in"
train = "list.csv"
[target]
root = "out"
train = "list.csv"
"""


def refusal(folder: Path, content: str | bytes) -> str:
    path = folder / "two.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "list.csv").write_text("a.avi,0\nb.avi,1\n")
    with pytest.raises(DatasetError) as refused:
        load_toml(path)
    said = str(refused.value)
    assert all(line.isprintable() for line in said.split("\n")), said
    assert len(said) < 2000
    return said


def test_the_file_itself_is_sound(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(f"\ufeff{TOML}".replace("\n", "\r\n"))
    (tmp_path / "list.csv").write_text("a.avi,0\nb.avi,1\n")
    assert len(load_toml(tmp_path / "two.toml").videos()) == 4


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (TOML.encode("utf-16"), "is not UTF-8 text"),
        (TOML.encode("utf-16-le"), "is not TOML"),
        (b"\0" * 100, "is not TOML"),
        ('name = "two', "is not TOML"),
        ("name = '''two", "is not TOML"),
        ("name = 1\nname = 2", "is not TOML"),
        ("x = " + "[" * 60_000, "is not TOML: it nests too deep"),
        ("x = " + "{a=" * 20_000, "is not TOML: it nests too deep"),
        ("x = " + "9" * 60_000, "is not TOML"),
        ("x = 2020-13-45", "is not TOML"),
        ("a" + ".a" * 30_000 + " = 1", "has more than 64 dots"),
        ("# " + "x" * 70_000, "is longer than 65,536 characters"),
        ("# x\n" * 300_000, "is longer than the 1,048,576 characters that such a file may have"),
        ('"\\u001b[2J" = 1', r"'\x1b[2J'"),
        ('"' + "k" * 60_000 + '" = 1', "keys that mean nothing here"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: str | bytes, reason: str) -> None:
    begun = time.monotonic()
    assert reason in refusal(tmp_path, content)
    assert time.monotonic() - begun < 5


def test_the_dots_that_are_allowed_take_no_time(tmp_path: Path) -> None:
    lines = [f"[{'.'.join(f'a{number}' for _ in range(60))}]" for number in range(4000)]
    begun = time.monotonic()
    refusal(tmp_path, "\n".join(lines))
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"two"', r'"two\u001b[2J"', "the name in"),
        ('"two"', f'"{"x" * 10_000}"', "the name in"),
        ('"indoors"', r'"in\u202edoors"', "name holds control characters"),
        ('"indoors"', f'"{"x" * 300}"', "a domain can't be called"),
        ('"indoors"', '"../in"', "a domain can't be called"),
        ('"in"', r'"in\u0000"', "root holds control characters"),
        ('"in"', f'"{"x" * 5000}"', "root has 5,000 characters"),
        ('"list.csv"', r'"list\u0000.csv"', "train holds control characters"),
        ('"list.csv"', f'"{"x" * 4000}"', "can't be looked up: File name too long"),
        ('["walk", "wave"]', r'"classes\u0000.txt"', "classes holds control characters"),
        ('["walk", "wave"]', f'"{"x" * 5000}"', "classes has 5,000 characters"),
        ('["walk", "wave"]', '"/dev/zero"', "it is a pipe or a device"),
        ('["walk", "wave"]', r'["walk\n", "wave"]', "control characters"),
        ('["walk", "wave"]', "[]", "names 0 class"),
        ('["walk", "wave"]', "[1, 2]", "classes in"),
    ],
)
def test_names_and_paths_in_it(tmp_path: Path, old: str, new: str, reason: str) -> None:
    assert reason in refusal(tmp_path, TOML.replace(old, new, 1))


def test_a_pipe_or_a_device_in_place_of_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "zero.toml").symlink_to("/dev/zero")
    for name in ("pipe.toml", "zero.toml"):
        with pytest.raises(DatasetError, match="it is a pipe or a device"):
            load_toml(tmp_path / name)
