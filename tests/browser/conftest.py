"""A real browser for the pages: Debian's Chromium, driven by Playwright; without either, these tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from real_runs import RealRuns, make_real_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
]

Opens = Callable[..., "Page"]


def _absent(why: str) -> NoReturn:
    """Skips; fails where a browser is a must, as in CI, so that these tests can't be passed over unseen."""
    if os.environ.get("COMIX_REQUIRE_BROWSER"):
        pytest.fail(why)
    pytest.skip(why)


def find_chromium() -> str | None:
    """$COMIX_CHROMIUM, or a Chromium or Chrome on the PATH."""
    names = (os.environ.get("COMIX_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    """Playwright, started once."""
    try:
        from playwright import sync_api as api
    except ModuleNotFoundError:
        _absent('needs the extra: pip install -e ".[browser]"')
    with api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> RealRuns:
    """Small runs of every kind, as the commands make them; made once, in seconds."""
    return make_real_runs(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """The browser, started once, its profile a new one."""
    program = find_chromium()
    if program is None:
        _absent("no Chromium here: apt-get install chromium, or set COMIX_CHROMIUM")
    started = playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
    yield started
    started.close()


@pytest.fixture
def browser(chromium: Browser) -> Iterator[BrowserContext]:
    """A window of its own, as new: 1280 × 900, light, nothing remembered of other tests, no network."""
    context = chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce", offline=True
    )
    yield context
    context.close()


@pytest.fixture
def opens(browser: BrowserContext) -> Iterator[Opens]:
    """Opens a file as a user does, from file://. The test fails if a page logs an error, throws, or asks for a file."""
    wrong: list[str] = []

    def listen(page: Page) -> None:
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda asked: _unexpected(asked.url, wrong))
        page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))

    def open_file(path: Path, fragment: str = "", **viewport: Any) -> Page:
        page = browser.new_page()
        listen(page)
        if viewport:
            page.set_viewport_size({"width": 1280, "height": 900, **viewport})
        page.goto(path.as_uri() + fragment)
        return page

    yield open_file
    assert not wrong


def _unexpected(url: str, wrong: list[str]) -> None:
    if not url.startswith(("file://", "data:")):
        wrong.append(f"asked for {url}")


@pytest.fixture
def serious(opens: Opens) -> Callable[[Page], list[str]]:
    """What axe finds on a page that is serious or critical: rule and the first elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason='needs the extra "browser"')

    def found(page: Page) -> list[str]:
        violations = axe.Axe().run(page).response["violations"]
        return [
            f"{one['id']}: {[node['html'] for node in one['nodes'][:3]]}"
            for one in violations
            if one["impact"] in ("serious", "critical")
        ]

    return found
