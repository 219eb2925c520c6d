"""Lists of videos from strangers: CSV files and texts of class names, read line by line and held to their root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile_files import in_little_memory

from comix_fast.datasets import Dataset, check_files, load_toml
from comix_fast.datasets.tables import read_class_names, read_rows
from comix_fast.errors import DatasetError

TOML = """
classes = ["walk", "wave"]
[source]
root = "in"
train = "source.csv"
[target]
root = "out"
train = "target.csv"
"""


class Lists:
    """A TOML with two lists, each with a root of its own, and a file that lies in neither."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "two.toml").write_text(TOML)
        for name in ("in/a.avi", "in/b.avi", "out/c.avi", "out/d.avi", "secret.avi"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
        self.source(b"a.avi,0\nb.avi,1\n")
        (folder / "target.csv").write_text("c.avi,0\nd.avi,1\n")

    def source(self, content: bytes) -> None:
        (self.folder / "source.csv").write_bytes(content)

    def load(self) -> Dataset:
        return check_files(load_toml(self.folder / "two.toml"))

    def refusal(self, content: bytes) -> str:
        self.source(content)
        with pytest.raises(DatasetError) as refused:
            self.load()
        said = str(refused.value)
        assert all(line.isprintable() for line in said.split("\n")), said
        assert len(said) < 2000
        return said


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    return Lists(tmp_path)


def test_the_lists_themselves_are_sound(lists: Lists) -> None:
    assert len(lists.load().videos()) == 4


@pytest.mark.parametrize(
    "path", ["../secret.avi", "x/../../secret.avi", "/etc/passwd", "..", "./../out/c.avi", "//etc/x"]
)
def test_paths_do_not_leave_the_root(lists: Lists, path: str) -> None:
    assert f"1 of 2 paths of {lists.folder}/source.csv lead out of {lists.folder}/in" in lists.refusal(
        f"{path},0\nb.avi,1\n".encode()
    )


def test_links_inside_the_root_lead_where_their_owner_says(lists: Lists) -> None:
    (lists.folder / "in/b.avi").unlink()
    (lists.folder / "in/b.avi").symlink_to(lists.folder / "secret.avi")
    assert lists.load().source.train[1].path == lists.folder / "in/b.avi"
    (lists.folder / "in/b.avi").unlink()
    (lists.folder / "in/b.avi").symlink_to(lists.folder / "in/b.avi")
    assert "1 of 2 videos" in lists.refusal(b"a.avi,0\nb.avi,1\n")


CONTROL = {
    "newline": b'"a\nb.avi",0\n',
    "carriage return": b'"a\rb.avi",0\n',
    "nul": b"a\0.avi,0\n",
    "escape": b"a\x1b[2J.avi,0\n",
    "delete": b"a\x7f.avi,0\n",
    "c1": "a\x9b2J.avi,0\n".encode(),
    "line separator": "a\u2028b.avi,0\n".encode(),
    "right to left": "a\u202eiva.avi,0\n".encode(),
    "isolate": "a\u2066b.avi,0\n".encode(),
    "utf-16 without its mark": "a.avi,0\n".encode("utf-16-le"),
}


@pytest.mark.parametrize("kind", CONTROL)
def test_control_characters_and_changes_of_direction(lists: Lists, kind: str) -> None:
    assert "control characters in" in lists.refusal(CONTROL[kind])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a" * 2**20 + b",0\n", "line 1 of {} is longer than 65,536 characters"),
        (b"," * 10**6 + b"\n", "line 1 of {} is longer than 65,536 characters"),
        (b"a.avi" + b"," * 60_000 + b"0\n", "line 1: 60001 cells"),
        (b"a" * 5000 + b",0\n", "line 1: a path of 5,000 characters"),
        (b"a/" * 2500 + b"x,0\n", "line 1: a path of 5,001 characters"),
        (b"a" * 300 + b",0\n", "1 of 1 videos of"),
        (b'"a.avi,0\nb.avi,1\n', "{} is no CSV: unexpected end of data"),
        (b'"a.avi,0\n' + b"b.avi,1\n" * 50_000, "{} is no CSV: field larger than field limit"),
        (b'"a"b,0\n', "{} is no CSV"),
        ("a.avi,0\n".encode("utf-16"), "{} is not UTF-8 text"),
        ("a.avi,0\n".encode("utf-32"), "{} is not UTF-8 text"),
        (b"\xed\xa0\x80.avi,0\n", "{} is not UTF-8 text"),
        (b"a.avi,[red]2[/red]\x1b[2J\n", "1 of 1 labels of"),
        (b"a.avi," + b"9" * 60_000 + b"\n", "1 of 1 labels of"),
        (b"", "{} lists no video"),
        (b"\xef\xbb\xbf", "{} lists no video"),
        (b"\0" * 4096, "control characters"),
    ],
)
def test_files_that_are_no_lists(lists: Lists, content: bytes, reason: str) -> None:
    assert reason.format(lists.folder / "source.csv") in lists.refusal(content)


def test_a_byte_order_mark_and_every_kind_of_line_end(lists: Lists) -> None:
    for end in ("\n", "\r\n", "\r"):
        lists.source(f"\ufeffpath,label{end}a.avi,0{end}b.avi,1{end}".encode())
        assert [video.id for video in lists.load().source.train] == ["a.avi", "b.avi"]


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "pipe", "folder"])
@pytest.mark.parametrize("read", [read_rows, read_class_names])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, target: str, read: object) -> None:
    path = tmp_path / "list.csv"
    if target == "pipe":
        os.mkfifo(path)
    elif target == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    with pytest.raises(DatasetError, match=r"list\.csv can't be read: (it is a pipe or a device|Is a directory)"):
        list(read(path))  # type: ignore[operator]


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as file:
        file.truncate(2**33)  # 8 GB of NUL that take no room on the disk
    code = """
        from pathlib import Path
        from comix_fast.datasets.tables import read_rows
        from comix_fast.errors import DatasetError
        room()
        try:
            read_rows(Path(sys.argv[1]))
        except DatasetError as error:
            print(error.message)
    """
    assert "is longer than 65,536 characters" in in_little_memory(code, 100, path)
