"""The gallery of neighbours: one page to look at, with as many pictures as its size allows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comix_fast.cache import FeatureCache
from comix_fast.console import Reporter
from comix_fast.pictures import Footage, Pictures, gather_pictures
from comix_fast.report import MAX_MB
from comix_fast.report.gallery_mixes import gather_mixes
from comix_fast.report.gallery_values import gallery_values
from comix_fast.report.page import Page, render, write
from comix_fast.stages.retrieve import DOMAINS, Retrieved

TEMPLATE = "gallery.html.j2"
MIX_EXAMPLES = 24
_MIX_SHARE = 4
"""Mixed backgrounds take one part in so many of what pictures may take."""
_AROUND_A_PICTURE = 4
"""Characters of JSON around each picture, or for one that is not there."""

_SCRIPTS = (
    "gallery_rows.js",
    "gallery_link.js",
    "gallery_cards.js",
    "gallery_mixes.js",
    "gallery_detail.js",
    "gallery_keys.js",
    "gallery.js",
)

_MARGIN = (
    "margin: the similarity of the nearest right neighbour, less that of the nearest wrong one; with ≥ or ≤ where all "
    "that are shown are right or all wrong, as what is not shown is at most as similar as the last"
)


@dataclass(frozen=True)
class Gallery:
    """What was written. n_bytes: of the file; notes: what the page lacks and why, and how to read it."""

    path: Path
    n_bytes: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """What the page may hold. max_bytes: of the whole file; pictures: whether any; mix_examples: draws shown."""

    max_bytes: int = round(MAX_MB * 1e6)
    pictures: bool = True
    mix_examples: int = MIX_EXAMPLES


def write_gallery(
    retrieved: Retrieved,
    out: Path,
    *,
    cache: FeatureCache,
    footage: Footage | None,
    made_from: str,
    wanted: Wanted,
    reporter: Reporter,
    threads: int = 2,
) -> Gallery:
    """Writes the gallery: rows first, then the pictures that the rest of max_bytes has room for.

    footage: where the videos are; None: no pictures. made_from: run and seed, in words; it may be empty.
    Pictures fall back from moving previews to stills, to small stills, to none; the notes say to which and why. Rows
    are never left out: where they alone pass max_bytes, the page is larger, and a note says so. Raises OSError.
    """
    values = gallery_values(retrieved)
    about = _about(retrieved)
    alerts: list[str] = []
    room = wanted.max_bytes - len(render(gallery_page(values, retrieved, made_from, about, alerts)).encode())
    # Notes on pictures come later: a few lines of text.
    room -= 2_000
    if room < 0:
        size, cap = wanted.max_bytes - room, wanted.max_bytes
        alerts.append(
            f"the rows alone take {size / 1e6:.1f} MB, more than --max-size {cap / 1e6:g}: no pictures, and the page "
            "passes the size asked for; a smaller -k makes it smaller"
        )
    elif footage is not None and wanted.pictures:
        mixes = gather_mixes(
            cache,
            footage,
            examples=wanted.mix_examples,
            cap_bytes=room // _MIX_SHARE,
            reporter=reporter,
            roles=_roles(retrieved, cache),
        )
        videos: Sequence[str] = values["videos"]["ids"]
        room -= mixes.n_bytes + 1_000 * len(mixes.items) + _AROUND_A_PICTURE * len(videos)
        pictures = gather_pictures(
            footage, videos, kind="preview", cap_bytes=max(0, room), reporter=reporter, threads=threads
        )
        values = with_pictures(values, pictures, mixes.items)
        (about if pictures.kind == "preview" and not pictures.unread else alerts).append(pictures.note)
        about += [mixes.note] if mixes.note else []
    n_bytes = write(gallery_page(values, retrieved, made_from, about, alerts), out)
    if n_bytes > wanted.max_bytes and room >= 0:
        alerts.append(f"the page takes {n_bytes / 1e6:.2f} MB, above --max-size: its notes are long")
    return Gallery(out, n_bytes, (*alerts, *about))


def _roles(retrieved: Retrieved, cache: FeatureCache) -> Sequence[str]:
    """The cache's domains as the run takes them: the source first."""
    return DOMAINS if retrieved.names["source"] == cache.names["source"] else DOMAINS[::-1]


def with_pictures(
    values: Mapping[str, Any], pictures: Pictures, mixes: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Values as gallery_values gives them, with a picture of each video that has one (else 0), and draws of mixing."""
    sources = [picture.data_uri if (picture := pictures.get(video)) else 0 for video in values["videos"]["ids"]]
    return {
        **values,
        "pictures": {"moving": pictures.kind == "preview", "sources": sources if pictures.by_id else []},
        "mixes": list(mixes),
    }


def gallery_page(
    values: Mapping[str, Any], retrieved: Retrieved, made_from: str, about: Sequence[str], alerts: Sequence[str]
) -> Page:
    """The page of these values. about: notes for its foot; alerts: what stands at the top."""
    query, gallery = (_named(retrieved, role) for role in (retrieved.query, retrieved.gallery))
    first = next(iter(retrieved.spaces.values()))
    return Page(
        template=TEMPLATE,
        title=f"Neighbours: {query} → {gallery}",
        values=values,
        styles=("gallery.css",),
        scripts=_SCRIPTS,
        context={
            "n_queries": f"{len(first.queries):,}",
            "n_gallery": f"{first.gallery:,}",
            "k": first.k,
            "made_from": made_from,
            "spaces": values["spaces"],
            "scores": [score["name"] for score in values["spaces"][0]["scores"]],
            "about": about,
            "alerts": alerts,
        },
    )


def _named(retrieved: Retrieved, role: str) -> str:
    """A domain, by its name and its role; once where these are the same."""
    name = retrieved.names[role]
    return name if name == role else f"{name} ({role})"


def _about(retrieved: Retrieved) -> list[str]:
    """How to read the numbers, where that is not plain."""
    notes = []
    first = next(iter(retrieved.spaces.values()))
    if first.scores:
        notes.append(_MARGIN)
    if retrieved.transductive and "target" in (retrieved.query, retrieved.gallery):
        notes.append("the target's videos are its training videos, adapted on unlabelled (transductive)")
    if first.gallery_unlabelled:
        notes.append(
            f"{first.gallery_unlabelled:,} of {first.gallery:,} videos searched have no label: here the labelled ones "
            f"among the {first.k} shown vote, while the scores search the labelled videos alone"
        )
    for name, result in retrieved.spaces.items():
        if result.tied_at_k:
            notes.append(f"{name}: tied neighbours at the cut in {result.tied_at_k:,} queries: gallery order decides")
        if not result.index.sample:
            continue
        recall = f"{100 * result.index.recall:.1f} % of the true neighbours"
        notes.append(f"{name}: the index {result.index.factory} found {recall}, so some may be missing here")
    return notes
