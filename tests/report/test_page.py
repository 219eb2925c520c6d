"""One file, nothing fetched, nothing of the data ever markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from comix_fast.report import page as pages
from comix_fast.report.page import Page, embedded_json, render, write

HOSTILE = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "<!-- <script>", "& \u2028 \ud800 ü"]


def _page(**changes: object) -> Page:
    return Page("base.html.j2", str(changes.get("title", "A page")), changes.get("values", {"names": HOSTILE}))


class _Elements(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.started: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.started.append(tag)


def _inside(text: str, pattern: str) -> str:
    (found,) = re.findall(pattern, text, re.DOTALL)
    return found


def test_values_come_back_as_they_went_in_whatever_they_hold() -> None:
    text = render(_page())
    embedded = _inside(text, r'<script type="application/json" id="values">(.*?)</script>')
    assert json.loads(embedded) == {"names": HOSTILE}


def test_hostile_names_make_no_element() -> None:
    tame = _Elements(render(Page("base.html.j2", "tame", {"names": []}))).started
    text = render(Page("base.html.j2", HOSTILE[0], {"names": HOSTILE}))
    assert _Elements(text).started == tame
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


@pytest.mark.parametrize("value", HOSTILE)
def test_embedded_json_has_no_character_that_html_reads(value: str) -> None:
    text = embedded_json({value: [value]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {value: [value]}


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError):
        embedded_json({"loss": float("nan")})


def test_the_policy_lets_just_this_style_and_this_script_run() -> None:
    text = render(_page())
    policy = _inside(text, r'http-equiv="Content-Security-Policy" content="([^"]*)"').replace("&#39;", "'")
    for element, directive in (("style", "style-src"), ("script", "script-src")):
        code = _inside(text, rf"<{element}>(.*?)</{element}>")
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_nothing_is_fetched() -> None:
    text = render(Page("base.html.j2", "A page", {}))
    assert not re.findall(r"""(?:src|href)=["'](?!#)|@import|url\(|<link|fetch\(|XMLHttpRequest|WebSocket""", text)


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "page.html"
    assert write(_page(), out) == out.stat().st_size
    before = out.read_bytes()
    with pytest.raises(ValueError):
        write(_page(values={"loss": float("inf")}), out)
    assert out.read_bytes() == before
    monkeypatch.setattr(Path, "write_bytes", _no_room)
    with pytest.raises(OSError, match="no room"):
        write(_page(title="Another"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert out.read_bytes() == before


def _no_room(self: Path, written: bytes) -> int:
    self.touch()
    raise OSError("no room")


@pytest.mark.parametrize("path", sorted(Path(pages.__file__).parent.glob("static/*.js")), ids=lambda path: path.name)
def test_scripts_make_no_markup_from_text(path: Path) -> None:
    code = path.read_text(encoding="utf-8")
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", code)
    assert "</script" not in code
