"""The sample applications in a real browser: one speaks, reads, listens, interrupts, loses the connection."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dashscope_rt.audio import read_wav, write_wav
from dashscope_rt.images import jpeg_size
from dashscope_rt.testing import Answer, Emulator

from .apps import ROOT, App
from .conftest import RECORDER, SOON, Launch, Sound, need_browser, played, recorded, watch

need_browser()
np = pytest.importorskip("numpy")
soxr = pytest.importorskip("soxr")

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The page is the same in both samples, and so is most of the way to the model.
flask_only = pytest.mark.parametrize("running", ["flask"], indirect=True)
QUESTION = read_wav(ROOT / "samples" / "data" / "question.wav").pcm
SECOND = 2 * 16_000  # bytes
# Everything that the log shows, in the order in which it was shown.
FOLLOW = """
window.shown = [];
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  for (const item of document.querySelectorAll("#log li")) {
    const now = item.className + ": " + item.querySelector(".text").textContent + item.querySelector(".stash").textContent;
    if (!shown.includes(now)) shown.push(now);
  }
}).observe(document.getElementById("log"), { childList: true, subtree: true, characterData: true }));
"""


@pytest.fixture(scope="module", params=["flask", "django"])
def running(request: pytest.FixtureRequest, chromium: object) -> Iterator[App]:
    """Each sample, started once, if there is a browser for it."""
    app = App(request.param)
    try:
        yield app.start()
    finally:
        app.close()


@pytest.fixture
def app(running: App) -> Iterator[App]:
    """A sample with an emulator that answers in a tenth of the time."""
    assert running.emulator is not None
    running.emulator.pace = 0.1
    running.reply = lambda heard: f"You wrote: {heard.text}"
    yield running
    running.emulator.check()
    assert [line for line in running.output if "Traceback" in line] == []


Open = Callable[..., "Page"]
Start = Callable[..., App]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a sample for one test: ``start(framework, …)``, see `App`."""
    apps: list[App] = []

    def go(framework: str, **options: Any) -> App:
        apps.append(App(framework, **options))
        return apps[-1].start()

    yield go
    for app in apps:
        app.close()


@pytest.fixture
def open_page_of() -> Iterator[Open]:
    """Open an application's page as a new user: ``open_page_of(app, browser, **context_options)``."""
    problems: list[str] = []

    def go(app: App, browser: Browser, **options: Any) -> Page:
        page = browser.new_context(**options).new_page()
        watch(page, problems)
        page.add_init_script(FOLLOW)
        page.goto(app.url)
        page.wait_for_function("window.voice")
        page.add_script_tag(content=RECORDER)
        return page

    yield go
    assert problems == []


@pytest.fixture
def open_page(app: App, open_page_of: Open) -> Open:
    """The same of the sample that runs."""
    return functools.partial(open_page_of, app)


def speaks(path: Path, *, seconds: float, silence: float) -> Path:
    """A microphone that is silent for two seconds, speaks, is silent, and begins anew."""
    speech = QUESTION[SECOND // 2 : SECOND // 2 + int(seconds * SECOND)]
    write_wav(path, bytes(2 * SECOND) + speech + bytes(int(silence * SECOND)), 16_000)
    return path


def tone(hz: float, seconds: float) -> bytes:
    """Mono s16le at 24,000 Hz."""
    return (12_000 * np.sin(2 * np.pi * hz * np.arange(int(24_000 * seconds)) / 24_000)).astype("<i2").tobytes()


def write(page: Page, text: str) -> None:
    page.get_by_label("Write to the model").fill(text)
    page.keyboard.press("Enter")


def listen(page: Page, **what: bool) -> None:
    """Begin the conversation, and record what the page plays."""
    page.evaluate("(what) => voice.start(what).then(() => record(voice))", what)


def says(page: Page, words: str) -> None:
    """Wait until the model's newest bubble says so."""
    page.wait_for_function(
        "(words) => [...document.querySelectorAll('#log .model .text')].at(-1)?.textContent === words", arg=words
    )


def loudest(sound: Sound) -> float:
    """The frequency that is strongest in it, Hz."""
    loud = sound.loud() - sound.first
    samples = sound.samples[loud[0] : loud[-1] + 1]
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * sound.rate / len(samples))


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_speak_and_see_both_transcripts_grow_and_hear_the_answer(
    start: Start, launch: Launch, open_page_of: Open, tmp_path: Path, framework: str
) -> None:
    answer = Answer(
        text="One, two, three, four, five, six, seven.",
        audio=read_wav(ROOT / "tests" / "audio" / "count_en.wav").pcm[: 2 * SECOND],
        rate=16_000,
        input_transcript="What is the weather like in Paris?",
    )
    app = start(framework, script=[answer])
    emulator = app.emulator
    assert emulator is not None
    emulator.pace = 0.1
    page = open_page_of(app, launch(speaks(tmp_path / "say.wav", seconds=1.5, silence=8)))
    page.get_by_role("button", name="Start talking").click()
    page.wait_for_function("voice.state === 'open'")
    page.evaluate("record(voice)")
    says(page, "One, two, three, four, five, six, seven.")
    page.wait_for_function("voice.phase === 'listening'")
    recorded(page, ms=50)

    shown = page.evaluate("shown")
    grown = [text for text in shown if text.startswith("you: ")]
    assert len(grown) > 2, "what I say appears while I speak"
    assert grown[-1] == "you: What is the weather like in Paris?"
    assert len([text for text in shown if text.startswith("model: ")]) > 4, "the answer appears word by word"
    note = page.locator("#log .model small").inner_text()
    assert re.fullmatch(r"answered after [\d.]+ m?s, at the server [\d.]+ m?s", note), note

    deltas = [message.event["delta"] for message in emulator.sent if message.type == "response.audio.delta"]
    sent = np.frombuffer(b"".join(base64.b64decode(delta) for delta in deltas), "<i2") / 32768
    sound = played(page)
    assert sound.rate in (44_100, 48_000), "this is not the answer's own rate"
    wanted = soxr.resample(sent, 24_000, sound.rate).astype(np.float32)
    heard = sound.samples
    size = 1 << (len(heard) + len(wanted)).bit_length()
    match = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    lag = int(np.argmax(match[: len(heard)]))
    cut = heard[lag : lag + len(wanted)]
    assert len(cut) == len(wanted), "all of it, to the end"
    assert np.dot(cut, wanted) / np.sqrt(np.dot(cut, cut) * np.dot(wanted, wanted)) > 0.999
    assert np.sqrt(np.mean((cut - wanted) ** 2)) < 0.02 * np.sqrt(np.mean(wanted**2)), "nothing is missing within it"
    assert np.abs(heard[: max(0, lag - 100)]).max(initial=0) < 1e-3, "and nothing else sounds"
    assert np.abs(heard[lag + len(wanted) + 100 :]).max(initial=0) < 1e-3


@pytest.mark.parametrize(
    ("running", "how"),
    [("flask", "button"), ("django", "button"), ("flask", "Escape"), ("flask", "text")],
    indirect=["running"],
)
def test_an_interruption_is_heard_at_once_and_nothing_of_that_answer_sounds_later(
    app: App, launch: Launch, open_page: Open, how: str
) -> None:
    answers = {"first": tone(500, 8), "second": bytes(4800) + tone(1500, 0.4)}  # it begins with a pause of its own
    assert app.emulator is not None
    app.emulator.pace = 0  # all of it is in the browser long before it has sounded
    app.reply = lambda heard: Answer(text=heard.text, audio=answers[heard.texts[-1]])
    page = open_page(launch())
    listen(page, microphone=False)
    write(page, "first")
    page.wait_for_function("voice.phase === 'speaking'")
    page.evaluate("""() => { // when it was asked for, on the audio clock
      const mark = () => (window.cut ??= recording.now());
      document.getElementById("interrupt").addEventListener("click", mark, true);
      addEventListener("keydown", ({ key }) => ["Escape", "Enter"].includes(key) && mark(), true);
    }""")
    if how == "button":
        page.get_by_role("button", name="Stop answer").click()
    elif how == "Escape":
        page.keyboard.press("Escape")
    if how != "text":
        page.wait_for_function("voice.phase === 'listening'")
        recorded(page, ms=200)
    write(page, "second")
    says(page, "second")
    page.wait_for_function("voice.phase === 'listening'")
    recorded(page, ms=100)

    sound = played(page)
    asked = page.evaluate("cut")
    loud = sound.loud()
    (pauses,) = np.nonzero(np.diff(loud) > sound.rate // 100)
    assert len(pauses) == 1, "one answer, a pause, another answer"
    silent_after = 1000 * (loud[pauses[0]] - asked) / sound.rate
    assert silent_after < 150, f"silent after {silent_after:.0f} ms"
    rest = Sound(sound.samples[loud[pauses[0] + 1] - sound.first :], sound.rate, 0)
    assert abs(loudest(rest) - 1500) < 20
    assert abs(rest.loud()[-1] / sound.rate - 0.4) < 0.05, "only the second answer sounds"
    assert "stopped after" in page.locator("#log .model small").first.inner_text()


@flask_only
def test_speaking_into_the_answer_stops_it(app: App, launch: Launch, open_page: Open, tmp_path: Path) -> None:
    voices = iter([tone(500, 20), tone(1500, 0.3), tone(1500, 0.3)])
    app.reply = lambda heard: Answer(text="So it is.", audio=next(voices))
    page = open_page(launch(speaks(tmp_path / "say.wav", seconds=1, silence=1)))
    page.evaluate("voice.addEventListener('speech_started', () => (window.cut = recording.now()))")
    listen(page)
    page.wait_for_selector("#log .model:nth-of-type(n+2) >> text=stopped after")
    recorded(page, ms=200)
    asked = page.evaluate("cut")
    page.get_by_role("button", name="End", exact=True).click()
    sound = played(page)
    loud = sound.loud()
    assert (loud < asked).any(), "it had begun"
    gone_on = loud[loud >= asked]
    assert gone_on.size == 0 or (gone_on.max() - asked) / sound.rate < 0.3


def test_a_lost_service_and_a_lost_server_come_back_by_themselves(app: App, launch: Launch, open_page: Open) -> None:
    page = open_page(launch())
    page.get_by_role("button", name="Start talking").click()
    page.wait_for_function("voice.state === 'open'")
    assert app.emulator is not None
    lost = "document.getElementById('state').textContent === 'Reconnecting …'"

    app.emulator.drop(1011, "the service fails")
    page.wait_for_function(lost)
    page.wait_for_function("voice.state === 'open'")
    write(page, "Are you there?")
    says(page, "You wrote: Are you there?")

    app.kill()
    page.wait_for_function(lost)
    app.start(app.port)
    page.wait_for_function("voice.state === 'open'", timeout=20_000)
    write(page, "And now?")
    says(page, "You wrote: And now?")
    assert page.locator("#log li").count() == 4, "what was said before is still there"


def test_two_users_have_their_own_sessions(app: App, launch: Launch, open_page: Open) -> None:
    voices = {"I am Ada": tone(500, 0.6), "I am Ben": tone(1500, 0.6)}
    app.reply = lambda heard: Answer(text=f"Hello, {heard.text}", audio=voices[heard.text])
    assert app.emulator is not None
    before = len(app.emulator.connections)
    browser = launch()
    ada, ben = open_page(browser), open_page(browser)
    assert ada.locator("header").inner_text() != ben.locator("header").inner_text()
    listen(ada, microphone=False)
    listen(ben, microphone=False)
    write(ada, "I am Ada")
    write(ben, "I am Ben")
    for page, words, hz in ((ada, "Hello, I am Ada", 500), (ben, "Hello, I am Ben", 1500)):
        says(page, words)
        page.wait_for_function("voice.phase === 'listening'")
        recorded(page, ms=50)
        sound = played(page)
        assert abs(loudest(sound) - hz) < 20
        assert abs((sound.loud()[-1] - sound.loud()[0]) / sound.rate - 0.6) < 0.05
        assert page.locator("#log li").count() == 2
    sessions = app.emulator.connections[before:]
    assert len(sessions) == 2
    instructions = {
        message.event["session"]["instructions"]
        for message in app.emulator.received
        if message.type == "session.update" and message.connection > before
    }
    assert len(instructions) == 2, "each with its own user's configuration"


@flask_only
def test_without_the_microphone_the_page_says_what_to_do_and_writing_works(
    app: App, launch: Launch, open_page: Open
) -> None:
    page = open_page(launch(allow=False))
    page.get_by_role("button", name="Start talking").click()
    problem = page.get_by_role("alert")
    problem.wait_for()
    assert "The browser may not use the microphone. Allow it" in problem.inner_text()
    assert page.get_by_role("status").inner_text() == "Not connected"
    page.get_by_role("button", name="Dismiss").click()
    assert problem.is_hidden()
    write(page, "<b>Hello</b>")
    says(page, "You wrote: <b>Hello</b>")


@flask_only
def test_the_camera_s_frames_arrive_as_jpeg(app: App, launch: Launch, open_page: Open) -> None:
    app.reply = lambda heard: f"{len(heard.images)} pictures"
    page = open_page(launch())
    page.get_by_role("button", name="Start talking").click()
    page.get_by_role("button", name="Camera").click()
    page.wait_for_selector("#preview:not([hidden])")
    emulator: Emulator | None = app.emulator
    assert emulator is not None
    page.wait_for_function("voice.stats.picturesSent >= 2")
    connection = emulator.connections[-1].connection
    frame = emulator.wait_for("input_image_buffer.append", connection=connection)
    size = jpeg_size(base64.b64decode(frame.event["image"]))
    assert size is not None
    assert max(size) <= 960
    button = page.get_by_role("button", name="Camera on")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    page.wait_for_selector("#preview", state="hidden")


@flask_only
def test_on_a_phone_everything_is_within_reach(app: App, launch: Launch, open_page: Open) -> None:
    page = open_page(launch(), viewport={"width": 320, "height": 568}, is_mobile=True, has_touch=True, color_scheme="dark")
    app.reply = lambda heard: ("A long answer. " * 60).strip()
    page.get_by_role("button", name="Start talking").tap()
    page.wait_for_function("voice.state === 'open'")
    write(page, "Say a lot.")
    says(page, ("A long answer. " * 60).strip())
    assert page.evaluate("document.documentElement.scrollWidth") == 320, "nothing sticks out"
    for control in page.locator("button:visible, input:visible").all():
        box = control.bounding_box()
        assert box is not None
        assert box["height"] >= 44, "large enough for a thumb"
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 320
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 568
    newest = "document.querySelector('#log li:last-child').getBoundingClientRect().bottom"
    assert page.evaluate(f"{newest} <= document.querySelector('footer').getBoundingClientRect().top"), "in sight"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 64, "dark, as the phone is"


@pytest.mark.parametrize("framework", ["flask", "django"])
def test_without_a_key_the_page_says_that_it_is_the_emulator(
    start: Start, launch: Launch, open_page_of: Open, framework: str
) -> None:
    page = open_page_of(start(framework, key=False), launch())
    assert "you talk with the emulator on this machine" in page.locator(".notice").inner_text()
    write(page, "Who are you?")
    says(page, "This is the emulator. You wrote: Who are you?")


@flask_only
def test_over_plain_http_from_elsewhere_the_page_says_why_there_is_no_microphone(
    app: App, launch: Launch
) -> None:
    page = launch(None, "--host-resolver-rules=MAP talk.test 127.0.0.1").new_page()
    page.set_default_timeout(SOON)
    page.goto(f"http://talk.test:{app.port}/")
    page.get_by_role("button", name="Start talking").click()
    page.wait_for_selector("text=Browsers give the microphone only to pages that came over https, or from localhost.")
