"""A real browser for these tests: Debian's Chromium, driven by playwright, with a microphone that speaks a WAV file."""

from __future__ import annotations

import base64
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from dashscope_rt.audio import write_wav

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page

SOON = 20_000  # ms; a bound that a good run never reaches
HERE = Path(__file__).parent
RECORDER = (HERE / "recorder.js").read_text(encoding="utf-8")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",  # it may run as root in a container; all pages are ours
    "--use-fake-device-for-media-stream",
    "--mute-audio",
]


def need_browser() -> None:
    """Leave a module out, and say why, where there is no browser."""
    missing = None
    if CHROMIUM is None:
        missing = "there is no chromium on this machine (apt-get install chromium)"
    elif importlib.util.find_spec("playwright") is None:
        missing = 'playwright is not installed (pip install "dashscope_rt[tests]")'
    if missing is not None:
        pytest.skip(f"no browser tests: {missing}", allow_module_level=True)


@pytest.fixture(scope="package")
def chromium() -> Iterator[BrowserType]:
    """Playwright's chromium; for the time of these tests only, because it keeps an event loop on this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium


Launch = Callable[..., "Browser"]


@pytest.fixture(scope="package")
def browsers(chromium: BrowserType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Start browsers, each kind of them only once."""
    kept: dict[tuple[str, ...], Browser] = {}
    silence = tmp_path_factory.mktemp("microphone") / "silence.wav"
    write_wav(silence, bytes(32_000), 16_000)

    def start(wav: Path | None = None, *flags: str, allow: bool = True) -> Browser:
        given = (*FLAGS, *flags, f"--use-file-for-fake-audio-capture={wav or silence}")
        if allow:
            given = (*given, "--use-fake-ui-for-media-stream")  # says yes to every question for microphone and camera
        if given not in kept:
            kept[given] = chromium.launch(executable_path=CHROMIUM, args=list(given))
        return kept[given]

    yield start
    for browser in kept.values():
        browser.close()


@pytest.fixture
def launch(browsers: Launch) -> Iterator[Launch]:
    """A browser: ``launch(wav, *flags, allow=True)``; the microphone speaks the file over and over.

    Without a file it is silent. What the test opens is closed after it.
    """
    used: set[Browser] = set()

    def start(*args: Any, **options: Any) -> Browser:
        browser = browsers(*args, **options)
        used.add(browser)
        return browser

    yield start
    for browser in used:
        for context in browser.contexts:
            context.close()


@attrs.frozen
class Sound:
    """What a page has played.

    Attributes:
        samples: From -1 to 1.
        rate: Hz.
        first: The frame number of the first sample, on the page's audio clock.
    """

    samples: NDArray[np.float32]
    rate: int
    first: int

    def loud(self) -> NDArray[np.intp]:
        """The frame numbers where something sounds."""
        import numpy as np

        return np.flatnonzero(np.abs(self.samples) > 1e-4) + self.first


def recorded(page: Page, ms: int = 50) -> None:
    """Wait until what the page plays is recorded until ``ms`` from now."""
    page.wait_for_function(
        "(until) => recording.until() > until", arg=page.evaluate(f"recording.now() + recording.rate * {ms / 1000}")
    )


def played(page: Page) -> Sound:
    """What the page has played since ``record(voice)``."""
    import numpy as np

    taken: dict[str, Any] = page.evaluate("recording.take()")
    samples = np.frombuffer(base64.b64decode(taken["samples"]), np.float32)
    return Sound(samples, taken["rate"], taken["first"])


def _complains(message: ConsoleMessage) -> bool:
    # Chromium itself writes a line for each request that fails; that is for the page to deal with.
    return message.type == "error" and "Failed to load resource" not in message.text and "WebSocket" not in message.text


def watch(page: Page, problems: list[str] | None = None) -> list[str]:
    """The page's uncaught errors, and what its console complains of, as they come."""
    problems = [] if problems is None else problems
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if _complains(message) else None)
    page.set_default_timeout(SOON)
    return problems
