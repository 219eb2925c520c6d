"""One self-contained HTML file from a template, styles, scripts and values; nothing in it is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from comix_fast.errors import ComixError
from comix_fast.files import require_writable, whole_file
from comix_fast.version import __version__

_PARTS = resources.files("comix_fast.report")
SUFFIXES = (".html", ".htm")
_HEAD = 4096
"""Bytes in which a page says what it is."""
_BASE_STYLES, _BASE_SCRIPTS = ("base.css",), ("base.js",)


@dataclass(frozen=True)
class Page:
    """What makes a page.

    template: its name below templates/. title: as text. values: JSON values for the scripts, which find them as
    Comix.values; names and texts from data belong there, or into `context`, which the template escapes.
    styles, scripts: names below static/, after base.css and base.js, in order.
    """

    template: str
    title: str
    values: Mapping[str, Any]
    styles: Sequence[str] = ()
    scripts: Sequence[str] = ()
    context: Mapping[str, Any] | None = None


def render(page: Page) -> str:
    """The page as text: styles, scripts and values inside it, and a policy that lets it run these and nothing else.

    Whatever a value or a name holds is shown as text: the template escapes, and the values can't end their element.
    Raises ValueError for numbers that JSON can't hold (NaN, infinities).
    """
    style = "\n".join(_static(name) for name in (*_BASE_STYLES, *page.styles))
    script = "\n".join(_static(name) for name in (*_BASE_SCRIPTS, *page.scripts))
    return (
        _templates()
        .get_template(page.template)
        .render(
            title=page.title,
            page=page.template,
            policy=policy(style, script),
            # Ours, from the package: their < and & are code.
            style=Markup(style),
            script=Markup(script),
            values=Markup(embedded_json(page.values)),
            version=__version__,
            **(page.context or {}),
        )
    )


def require_page(path: Path, option: str) -> None:
    """Before minutes are spent on a page that can't be written.

    option: the one that named it. Raises ComixError for what is no name of a page, OSError where none can be written.
    """
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise ComixError(f"{option} {path} names no page", hint=f"it is to end in {SUFFIXES[0]}")
    require_writable(path)


def require_replaceable(path: Path, page: str, option: str) -> None:
    """Where nobody named the file: it must be absent, or a former page of the same kind.

    page: the name of its template; option: the one that names another file. Raises ComixError, and OSError as
    require_page does.
    """
    if path.exists() and not (path.is_file() and _made_as(path, page)):
        raise ComixError(f"{path} is there and is no former page of this kind", hint=f"give {option} FILE.html")
    require_writable(path)


def page_bytes(max_size: float) -> int:
    """What a page may take, of MB as typed (10⁶ bytes). Raises ComixError for what is no number of them."""
    if not math.isfinite(max_size) or max_size <= 0:
        raise ComixError(f"--max-size {max_size} is no number of MB", hint="give one above 0, such as 16")
    return math.floor(max_size * 1e6)


def _made_as(path: Path, page: str) -> bool:
    with path.open("rb") as file:
        return f'<meta name="comix-page" content="{page}">'.encode() in file.read(_HEAD)


def write(page: Page, out: Path) -> int:
    """Writes the page whole; returns its bytes. Raises OSError where the disk takes no more."""
    written = render(page).encode()
    with whole_file(out) as partial:
        partial.write_bytes(written)
    return len(written)


def embedded_json(values: Any) -> str:
    """JSON that can stand inside a <script>: no character of it can end the element or begin a comment."""
    text = json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this style and script: these, pictures inside it, and no network."""
    return (
        f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _static(name: str) -> str:
    """Without a last line break, so that what is between the tags is what is hashed."""
    return (_PARTS / "static" / name).read_text(encoding="utf-8").strip()


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("comix_fast.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
