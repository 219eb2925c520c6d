"""Datasets described in TOML: the real clips, and every way to get such a file wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from comix_fast.datasets import Dataset, Video, check_files, load_toml
from comix_fast.errors import DatasetError

CLASSES = ["handshake", "hug", "kick", "point", "punch", "push"]


def ut_toml(shared: Path, folder: Path, source: str, target: str) -> Path:
    """A TOML over the UT-Interaction clips; source and target are the keys of the two tables."""
    ut = shared / "data" / "ut_interaction"
    path = folder / "ut.toml"
    path.write_text(
        f'classes = "{ut}/classes.txt"\n'
        f'[source]\nname = "set1"\nroot = "{ut}"\n{source.format(ut=ut)}\n'
        f'[target]\nname = "set2"\nroot = "{ut}"\n{target.format(ut=ut)}\n'
    )
    return path


def test_ut_interaction_whole_sets_are_transductive(shared: Path, tmp_path: Path) -> None:
    path = ut_toml(shared, tmp_path, 'train = "{ut}/set1_all.csv"', 'train = "{ut}/set2_all.csv"')
    dataset = check_files(load_toml(path))
    ut = shared / "data" / "ut_interaction"
    assert list(dataset.classes) == CLASSES
    for domain, name in ((dataset.source, "set1"), (dataset.target, "set2")):
        with (ut / f"{name}_all.csv").open() as file:
            rows = [(row, int(label)) for row, label in csv.reader(file)]
        assert len(rows) == 60
        assert [(video.id, video.label) for video in domain.train] == rows
        assert all(video.path == ut / video.id and video.path.is_file() for video in domain.train)
        assert domain.test is None
    assert dataset.transductive
    videos, sentence = dataset.measured()
    assert videos == dataset.target.train
    assert sentence == (
        "Target accuracy is measured on set2's own 60 training videos, adapted on without their labels "
        "(set2 has no test list, so this is transductive)."
    )
    assert sentence in dataset.notes


def test_ut_interaction_with_held_out_lists(shared: Path, tmp_path: Path) -> None:
    path = ut_toml(
        shared,
        tmp_path,
        'train = "{ut}/set1_train.csv"\ntest = "{ut}/set1_test.csv"',
        'train = "{ut}/set2_train.csv"\ntest = "{ut}/set2_test.csv"',
    )
    dataset = check_files(load_toml(path))
    assert [len(videos) for _, _, videos in dataset.lists()] == [35, 25, 36, 24]
    assert not dataset.transductive
    assert dataset.measured()[0] == dataset.target.test
    assert dataset.notes == ()


def test_ut_interaction_as_class_folders_has_the_same_ids(shared: Path, tmp_path: Path) -> None:
    folders = load_toml(ut_toml(shared, tmp_path, 'train = "{ut}/set1"', 'train = "{ut}/set2"'))
    lists = load_toml(ut_toml(shared, tmp_path, 'train = "{ut}/set1_all.csv"', 'train = "{ut}/set2_all.csv"'))
    assert set(folders.videos()) == set(lists.videos())


TOML = """
classes = ["walk", "wave"]
[source]
name = "indoors"
root = "videos"
train = "source.csv"
[target]
name = "outdoors"
root = "videos"
train = "target.csv"
"""


class Project:
    """A small TOML with its lists, in a folder of its own; videos are made where a test needs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.toml(TOML)
        self.write("source.csv", "in/a.avi,walk\nin/b.avi,1\n")
        self.write("target.csv", "out/c.avi,0\nout/d.avi,wave\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def toml(self, text: str) -> None:
        self.write("two.toml", text)

    def load(self) -> Dataset:
        return load_toml(self.folder / "two.toml")

    def refused(self, *parts: str) -> str:
        with pytest.raises(DatasetError) as error:
            self.load()
        text = str(error.value)
        for part in parts:
            assert part in text, text
        return text


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_labels_are_names_or_numbers_and_paths_lie_under_root(project: Project) -> None:
    dataset = project.load()
    videos = project.folder / "videos"
    assert dataset.name == "two"
    assert dataset.source.train == (
        Video("in/a.avi", videos / "in/a.avi", 0),
        Video("in/b.avi", videos / "in/b.avi", 1),
    )
    assert [video.label for video in dataset.target.train] == [0, 1]


def test_a_header_quotes_a_byte_order_mark_and_empty_lines(project: Project) -> None:
    project.write("source.csv", '\ufeffpath,label\r\n\r\n"in/a, b.avi",walk\r\n  in/#!&.avi , 1 \r\n')
    assert [(v.id, v.label) for v in project.load().source.train] == [("in/a, b.avi", 0), ("in/#!&.avi", 1)]


def test_digits_as_class_names_are_names_first(project: Project) -> None:
    project.toml(TOML.replace('["walk", "wave"]', '["1", "0"]'))
    project.write("source.csv", "a.avi,1\nb.avi,0\n")
    project.write("target.csv", "c.avi,0\n")
    assert [video.label for video in project.load().source.train] == [0, 1]


def test_target_labels_may_be_missing_wholly_or_partly(project: Project) -> None:
    project.write("target.csv", "path\nout/c.avi\nout/d.avi\n")
    assert project.load().measured() == (
        (),
        "There is no target accuracy: no video of outdoors to measure on carries a label.",
    )
    project.write("target.csv", "out/c.avi,\nout/d.avi,1\n")
    videos, sentence = project.load().measured()
    assert [video.id for video in videos] == ["out/d.avi"]
    assert "1 labelled of 2 training videos" in sentence


def test_source_labels_may_not_be_missing(project: Project) -> None:
    project.write("source.csv", "in/a.avi,0\nin/b.avi\n")
    project.refused("1 of 2 videos of", "source.csv have no label", "in/b.avi")


@pytest.mark.parametrize("label", ["2", "-1", "1.0", "dance", "Walk"])
def test_labels_outside_the_classes(project: Project, label: str) -> None:
    project.write("target.csv", f"out/c.avi,0\nout/d.avi,{label}\n")
    project.refused("1 of 2 labels of", "not among the 2 classes", f"'{label}' (line 2)", "walk, wave")


@pytest.mark.parametrize("path", ["a\tb.avi", '"a\nb.avi"', "a\x1bb.avi", "a\u2028b.avi", "a\x00b.avi"])
def test_control_characters_in_paths(project: Project, path: str) -> None:
    project.write("source.csv", f"{path},0\nin/b.avi,1\n")
    project.refused("1 of 2 lines of", "control characters")


def test_rows_of_another_form(project: Project) -> None:
    project.write("source.csv", "in/a.avi,0\n,1\nin/a,b.avi,1\n")
    project.refused("2 of 3 lines of", "line 2: no path", "line 3: 3 cells")
    project.write("source.csv", "path,label\n")
    project.refused("source.csv lists no video")
    (project.folder / "source.csv").write_bytes(b"in/\xff.avi,0\n")
    project.refused("source.csv is not UTF-8 text", "at byte 3")


def test_a_video_listed_twice(project: Project) -> None:
    project.write("source.csv", "in/a.avi,0\nin/b.avi,1\nin/a.avi,0\n")
    project.refused("1 of 3 videos in source.csv stand there more than once", "in/a.avi")
    project.write("source.csv", "in/a.avi,0\nin/b.avi,1\nin/../in/a.avi,0\n")
    project.refused("1 of 3 files in source.csv stand there under two names", "in/a.avi = in/../in/a.avi")


def test_paths_may_be_absolute_or_climb_below_root(project: Project) -> None:
    root = project.folder / "videos"
    project.write("source.csv", f"in/../elsewhere/a.avi,0\n{root}/elsewhere/b.avi,1\n")
    dataset = project.load()
    assert [video.id for video in dataset.source.train] == ["in/../elsewhere/a.avi", f"{root}/elsewhere/b.avi"]
    project.write("target.csv", "elsewhere/./b.avi,0\n")
    project.refused("1 of 2 videos of indoors (source) are also videos of outdoors (target)", f"{root}/elsewhere/b.avi")


@pytest.mark.parametrize("path", ["../a.avi", "in/../../a.avi", "/etc/passwd", "../videos-2/a.avi", ".."])
def test_paths_that_lead_out_of_root_are_refused(project: Project, path: str) -> None:
    project.write("source.csv", f"{path},0\nin/b.avi,1\n")
    project.refused("1 of 2 paths of", f"lead out of {project.folder / 'videos'}", path, "set root to a folder above")
    project.toml(TOML.replace('"videos"', '"/"'))
    project.load()


def test_a_link_between_the_domains_is_found_when_files_are_looked_up(project: Project) -> None:
    for name in ("in/a.avi", "in/b.avi", "out/d.avi"):
        path = project.folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (project.folder / "videos/out/c.avi").symlink_to(project.folder / "videos/in/b.avi")
    dataset = project.load()
    with pytest.raises(DatasetError, match="1 of 2 videos of indoors"):
        check_files(dataset)
    (project.folder / "videos/out/c.avi").unlink()
    (project.folder / "videos/out/c.avi").symlink_to(project.folder / "gone.avi")
    with pytest.raises(DatasetError, match=r"1 of 2 videos of target\.csv have no file under"):
        check_files(dataset)


def test_missing_files_point_at_the_toml(project: Project) -> None:
    with pytest.raises(DatasetError) as refused:
        check_files(project.load(), allow_missing=True)
    text = str(refused.value)
    videos = project.folder / "videos"
    assert text.startswith(f"2 of 2 videos of source.csv have no file under {videos}\n  in/a.avi, in/b.avi\n")
    assert f"there is no folder {videos}" in text
    assert text.endswith("check [source] root in two.toml and check [target] root in two.toml")


def test_the_same_list_twice_is_transductive_and_said_so(project: Project) -> None:
    project.toml(TOML + 'test = "target.csv"\n')
    dataset = project.load()
    assert dataset.transductive
    assert "each is also a training video" in dataset.measured()[1]
    assert "2 of the 2 test videos of outdoors (target) are also training videos" in dataset.notes[0]
    assert len(dataset.videos()) == 4


def test_lists_that_overlap_are_noted(project: Project) -> None:
    project.toml(TOML + 'test = "test.csv"\n')
    project.write("test.csv", "./out/d.avi,1\nout/e.avi,0\n")
    dataset = project.load()
    assert not dataset.transductive
    assert dataset.notes == (
        "1 of the 2 test videos of outdoors (target) are also training videos, adapted on without their labels",
    )
    assert [video.id for video in dataset.target.videos()] == ["out/c.avi", "out/d.avi", "out/e.avi"]
    project.write("test.csv", "out/d.avi,0\n")
    project.refused(
        "1 of 1 test videos of outdoors have one label in target.csv and another in test.csv",
        "(wave and walk)",
    )


def test_a_list_with_and_one_without_suffixes_are_the_same_videos(project: Project) -> None:
    project.toml(TOML + 'test = "test.csv"\n')
    project.write("test.csv", "out/c,0\nout/d,1\n")
    for name in ("in/a.avi", "in/b.avi", "out/c.avi", "out/d.avi"):
        path = project.folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert not project.load().transductive  # nothing is looked up yet
    dataset = check_files(project.load())
    assert dataset.transductive
    assert dataset.notes[0].startswith("2 of the 2 test videos of outdoors")


def test_unlabelled_training_with_a_labelled_test_list_keeps_the_label(project: Project) -> None:
    project.toml(TOML + 'test = "test.csv"\n')
    project.write("target.csv", "out/c.avi\nout/d.avi\n")
    project.write("test.csv", "out/d.avi,1\n")
    assert [video.label for video in project.load().target.videos()] == [None, 1]


def test_ids_in_both_domains_take_the_domain_s_name(project: Project) -> None:
    project.toml(TOML.replace('root = "videos"', 'root = "in"', 1).replace('root = "videos"', 'root = "out"'))
    project.write("source.csv", "a.avi,0\nb.avi,1\n")
    project.write("target.csv", "b.avi,0\nc.avi,1\n")
    dataset = project.load()
    assert [video.id for video in dataset.videos()] == [
        "indoors/a.avi", "indoors/b.avi", "outdoors/b.avi", "outdoors/c.avi",
    ]  # fmt: skip
    assert dataset.target.train[0].path == project.folder / "out" / "b.avi"


def test_ids_in_both_lists_of_a_domain_take_the_list_s_name(project: Project) -> None:
    for split in ("train", "test"):
        for name in ("walk/a.avi", "wave/b.avi"):
            path = project.folder / split / name
            path.parent.mkdir(parents=True)
            path.touch()
    project.toml(TOML.replace('train = "target.csv"', 'train = "train"\ntest = "test"'))
    assert [video.id for video in project.load().target.videos()] == [
        "train/walk/a.avi", "train/wave/b.avi", "test/walk/a.avi", "test/wave/b.avi",
    ]  # fmt: skip


def test_domains_need_names_that_differ(project: Project) -> None:
    project.toml(TOML.replace("outdoors", "indoors"))
    project.refused("both called 'indoors'")
    project.toml(TOML.replace("outdoors", "out/doors"))
    project.refused("can't be called 'out/doors'")


def test_classes_from_a_file_and_their_faults(project: Project) -> None:
    project.write("classes.txt", "walk\n\n wave \n")
    project.toml(TOML.replace('["walk", "wave"]', '"classes.txt"'))
    assert project.load().classes == ("walk", "wave")
    project.write("classes.txt", "walk\nwalk\n")
    project.refused("1 of 2 class names in", "walk")
    project.write("classes.txt", "walk\n")
    project.refused("names 1 class; two or more")
    project.toml(TOML.replace('["walk", "wave"]', '"other.txt"'))
    project.refused("other.txt can't be read: No such file")
    project.toml(TOML.replace('classes = ["walk", "wave"]', ""))
    project.refused("two.toml names no classes", "classes = [")
    project.toml(TOML.replace('"wave"]', "3]"))
    project.refused("classes in", "is a list")


def test_a_class_without_a_source_video_is_noted(project: Project) -> None:
    project.toml(TOML.replace('"wave"]', '"wave", "jump"]'))
    assert "1 of 3 classes have no training video in indoors: jump" in project.load().notes


def test_unknown_and_wrong_keys_are_named_with_the_known(project: Project) -> None:
    project.toml("sead = 1\n" + TOML)
    project.refused("keys that mean nothing here: 'sead'", "known are name, classes, source, target")
    project.toml(TOML + 'val = "x.csv"\n')
    project.refused("[target] of", "'val'", "known are name, root, train, test")
    project.toml(TOML.replace('train = "source.csv"', "train = 3"))
    project.refused("[source] of", "train is a number")
    project.toml(TOML.replace('train = "source.csv"', ""))
    project.refused("[source] of", "train is missing")
    project.toml('classes = ["a", "b"]\n[source]\ntrain = "source.csv"\n')
    project.refused("has no table [target]")
    project.toml("classes = [")
    project.refused("is not TOML")
    with pytest.raises(DatasetError, match=r"absent\.toml can't be read"):
        load_toml(project.folder / "absent.toml")


def test_a_list_that_is_not_there(project: Project) -> None:
    (project.folder / "target.csv").unlink()
    project.refused("train in [target] of", f"there is no {project.folder / 'target.csv'}", "own folder")


def test_class_folders_outside_the_classes(project: Project) -> None:
    for name in ("walk", "wave", "dance"):
        (project.folder / "out" / name).mkdir(parents=True)
    project.toml(TOML.replace("target.csv", "out"))
    project.refused("1 of 3 class folders of", "dance", "the 2 classes are walk, wave")


def test_names_default_to_the_tables(project: Project) -> None:
    project.toml(TOML.replace('name = "indoors"\n', "").replace('name = "outdoors"\n', ""))
    dataset = project.load()
    assert (dataset.source.name, dataset.target.name) == ("source", "target")
