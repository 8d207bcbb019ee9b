"""The pages that the documentation shows talk with the model, in a real browser with a microphone that plays a file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashscope_rt.testing import Emulator

from ..blocks import blocks_of, environment
from .conftest import PAGES, ROOT

sync = pytest.importorskip("playwright.sync_api", reason="a browser is driven by playwright, of the extra tests")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")
# The page of "In the browser" has no server of its own: the application of the page about Flask shows it, too.
MORE = """
from pathlib import Path

from app import app, session

@app.get("/plain")
def plain():
    session["user"] = "bob"
    return Path("page.html").read_text()
"""


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The application of the page about Flask, run as the page says."""
    for block in blocks_of(PAGES / "how-to" / "flask.md"):
        block.write(folder)
    (html,) = [block for block in blocks_of(PAGES / "how-to" / "browser.md") if block.language == "html"]
    (folder / "page.html").write_text(html.text, encoding="utf-8")
    (folder / "more.py").write_text(MORE, encoding="utf-8")
    with Emulator() as emulator:
        server = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "more", "run", "--port", "0"],
            cwd=folder,
            env={**os.environ, **environment(emulator.url), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert server.stderr is not None
        try:
            said = iter(server.stderr.readline, "")
            yield next(found[1] for line in said if (found := re.search(r"Running on (http://\S+)", line)))
        finally:
            server.terminate()
            server.communicate(timeout=20)
        emulator.check()


def test_the_pages_hear_and_answer(address: str, folder: Path) -> None:
    options = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={folder / 'samples' / 'data' / 'question.wav'}%noloop",
    ]
    complaints: list[str] = []
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        for path, answer in (("/", "#answer"), ("/plain", "#model")):
            page = browser.new_context(permissions=["microphone"]).new_page()
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(address + path)
            page.click("#start")
            page.wait_for_function(
                f"document.querySelector('{answer}').textContent.includes('You spoke for')", timeout=30_000
            )
            if path == "/plain":
                assert "seconds of speech" in page.inner_text("#you")
                assert page.inner_text("#problem") == ""
            page.close()
        browser.close()
    assert not complaints
