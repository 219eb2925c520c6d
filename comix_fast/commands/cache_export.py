"""`comix cache export`: writes features as .npy or .safetensors files, says where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from comix_fast.cache.export import Exported, Form, export
from comix_fast.console import Reporter
from comix_fast.tables import plain_table


def run(cache: Path, out: Path, form: Form, views: str | None, splits: str | None, reporter: Reporter) -> Exported:
    """Writes the folder. views, splits: names separated by commas; None: all."""
    return export(cache, out, form=form, views=_names(views), splits=_names(splits), reporter=reporter)


def _names(typed: str | None) -> list[str] | None:
    return None if typed is None else list(dict.fromkeys(name.strip() for name in typed.split(",") if name.strip()))


def to_json(done: Exported) -> dict[str, Any]:
    """For --json."""
    return {
        "folder": str(done.path),
        "format": done.form,
        "bytes": done.n_bytes,
        "arrays": [
            {
                "folder": one.folder.as_posix(),
                "domain": one.domain,
                "split": one.split,
                "view": one.view,
                "videos": one.n_videos,
                "clips": one.n_rows,
                "dim": one.dim,
            }
            for one in done.arrays
        ],
    }


def closing(done: Exported) -> RenderableType:
    """The folders, their sizes, and where to read on."""
    rows = [
        (one.folder.as_posix(), f"{one.n_videos:,}", f"{one.n_rows:,}", f"{one.n_bytes / 1e6:,.1f}")
        for one in done.arrays
    ]
    return Group(
        Text(f"{done.path}: {done.n_bytes / 1e6:,.1f} MB as {done.form}, features of {done.arrays[0].dim:,} numbers"),
        plain_table(("", "videos", "clips", "MB"), rows),
        Text(f"next: {done.path / 'README.txt'} says what is what and how to read it"),
    )
