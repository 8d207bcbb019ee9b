"""The site is built without a warning, describes everything public, and loads nothing from anywhere else.

It needs the extra ``docs``, which the tests do not bring; `.ci/run` installs it and runs this file.
"""

from __future__ import annotations

import functools
import html
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import dashscope_rt as rt
from dashscope_rt import audio, errors, events, recording, testing

from .conftest import PAGES, ROOT

pytest.importorskip("mkdocs", reason='the site needs pip install ".[docs]"; .ci/run builds it')
pytest.importorskip("mkdocstrings", reason='the site needs pip install ".[docs]"; .ci/run builds it')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "-f",
            str(ROOT / "docs" / "mkdocs.yml"),
            "-d",
            str(folder),
        ],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_every_page_is_built_and_in_the_navigation(site: Path) -> None:
    front = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES.rglob("*.md"):
        name = page.relative_to(PAGES).with_suffix(".html").as_posix()
        assert (site / name).exists()
        assert f'href="{name}"' in front or name == "index.html", f"{name} is not in the navigation"


def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    """Scripts, styles, fonts, pictures: what a browser fetches by itself. Links that a reader follows may lead away."""
    loads = re.compile(r"""<(?:script|img|iframe|link|source)\b[^>]*?(?:src|href)=["']?((?:https?:)?//[^"'\s>]+)""")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        for address in loads.findall(page.read_text(encoding="utf-8")):
            raise AssertionError(f"{page.name} loads {address}")
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//|@import", style.read_text(encoding="utf-8")), style.name


def test_nothing_is_left_of_what_is_meant_for_the_tests(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert "test: scene" not in text
        assert "made: " not in text


KINDS = (
    "index",
    "how-to/flask",
    "about/flows",
    "troubleshooting",
    "migration/giztoy",
    "reference/client-events",
    "reference/models",
)


def _ids(site: Path) -> set[str]:
    pages = (site / "reference").glob("*.html")
    return {
        html.unescape(each)
        for page in pages
        for each in re.findall(r'\bid="([^"]+)"', page.read_text(encoding="utf-8"))
    }


def test_everything_public_is_described(site: Path) -> None:
    ids = {each.rpartition(".")[2] for each in _ids(site)}
    modules = {"audio", "config", "errors", "events", "models", "__version__", "AnyEvent", "UNSET"}
    tables = {"MODELS", "REGIONS", "VOICES"}
    internal = {"Hooks", "Raw", "Reply", "Ending", "Fault", "Variants"}  # for those who misbehave by program
    for module in (rt, errors, audio, recording, testing):
        missing = set(module.__all__) - ids - modules - tables - internal
        assert not missing, f"{module.__name__}: {missing}"


def test_every_event_is_described_with_its_fields(site: Path) -> None:
    ids = _ids(site)
    for kind in (*events.SERVER_EVENTS, *events.CLIENT_EVENTS):
        assert kind.replace(".", "-") in ids, kind
    server = (site / "reference" / "server-events.html").read_text(encoding="utf-8")
    for field in ("audio_start_ms", "stash", "arguments", "previous_item_id", "usage"):
        assert f"<code>{field}</code>" in server or field in server


def test_names_in_the_text_lead_to_their_reference(site: Path) -> None:
    page = (site / "how-to" / "blocking.html").read_text(encoding="utf-8")
    assert 'href="../reference/session.html#dashscope_rt.session.RealtimeSession' in page or "code-link" in page
    anchors = {
        path: set(re.findall(r'\bid="([^"]+)"', path.read_text(encoding="utf-8"))) for path in site.rglob("*.html")
    }
    for path, text in ((path, path.read_text(encoding="utf-8")) for path in anchors):
        for target, anchor in re.findall(r'class="code-link" href="([^"#]+)#([^"]+)"', text):
            there = (path.parent / target).resolve()
            assert html.unescape(anchor) in anchors[there], f"{path.name}: {target}#{anchor}"


def test_a_browser_fetches_nothing_from_elsewhere_and_no_page_is_wider_than_a_phone(site: Path) -> None:
    """Pages of every kind in a real browser, as a phone shows them."""
    sync = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright; .ci/run has it")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    fetched: list[str] = []
    complaints: list[str] = []
    handler = functools.partial(_Silent, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync.sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_address[1]}/"
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True).new_page()
        page.on("request", lambda request: fetched.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for name in KINDS:
            page.goto(f"{here}{name}.html")
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, f"{name} is {wide} pixels wide"
        browser.close()
        server.shutdown()
    assert not [url for url in fetched if not url.startswith((here, "data:", "blob:"))]
    assert not complaints


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
