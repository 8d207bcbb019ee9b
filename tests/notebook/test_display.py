"""How the package's objects show in a notebook: whole, escaped, in every theme, and never too large."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt._display import EMBEDDED_BYTES, Sheet, Sound, as_html, as_text, ms
from dashscope_rt.audio import silence, wav_bytes
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard
from tests.notebook.conftest import ROOT

KEY = "sk-a-very-secret-key-0123456789"
NASTY = '<script>alert("x")</script> & </div> costs $5 or $6'
VOID = {"br", "hr", "img", "input", "meta"}


class Balanced(HTMLParser):
    """Sees that every element is closed, and keeps what is in the page."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def bundle(thing: Any) -> tuple[Balanced, str, str]:
    """The page, its source, and the text."""
    made = thing._repr_mimebundle_(include=None, exclude=None)
    assert set(made) == {"text/html", "text/plain"}
    return Balanced(made["text/html"]), made["text/html"], made["text/plain"]


def player(html: str) -> bytes:
    (data,) = re.findall(r'<audio controls[^>]* src="data:audio/wav;base64,([^"]+)"', html)
    return base64.b64decode(data, validate=True)


def model(heard: Heard) -> Answer | None:
    if "weather" in heard.text:
        return Answer(function_calls=[FunctionCall("weather", {"city": "<Rome>"})])
    if "long" in heard.text:
        return Answer(text="Very long.", audio=silence(EMBEDDED_BYTES / 48 + 100, 24_000))
    if "fail" in heard.text:
        return Answer(text="As far as", status="failed", error={"type": "server_error", "message": "<out of> memory"})
    return None


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(answer=model) as emulator:
        yield emulator
        emulator.check()


@pytest.fixture
def session(emulator: Emulator) -> Iterator[rt.RealtimeSession]:
    with rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None) as session:
        yield session


def test_a_turn_shows_question_answer_voice_and_times(session: rt.RealtimeSession) -> None:
    turn = session.ask(text="Good morning.")
    page, html, plain = bundle(turn)
    for text in ("Good morning.", turn.text):
        assert text in page.text
        assert text in plain
    assert player(html) == wav_bytes(turn.audio, turn.audio_rate)
    for label in ("delay", "first text", "first audio", "complete", "tokens", "speech"):
        assert label in page.text
    assert re.search(r"delay [\d.]+ m?s, first text", plain)
    assert 'turn.save("answer.wav")' in plain


def test_a_spoken_question_shows_what_the_service_understood(session: rt.RealtimeSession) -> None:
    page, _, plain = bundle(session.ask(b"\x10\x00" * 16_000))
    assert "You (emulator) 1.0 seconds of speech" in page.text
    assert "You:   (emulator) 1.0 seconds of speech" in plain


def test_the_silence_before_a_picture_is_no_question(session: rt.RealtimeSession) -> None:
    jpeg = b"\xff\xd8\xff\xe0" + b"picture" * 10 + b"\xff\xd9"
    page, _, _ = bundle(session.ask(text="What is this?", images=[jpeg]))
    assert "You What is this?" in page.text
    assert "seconds of speech" not in page.text


@pytest.mark.parametrize("thing", ["turn", "response"])
def test_every_text_is_escaped_and_no_formula(session: rt.RealtimeSession, thing: str) -> None:
    turn = session.ask(text=NASTY)
    page, html, plain = bundle(turn if thing == "turn" else turn.responses[0])
    assert NASTY in page.text
    assert NASTY in plain
    assert "script" not in page.tags
    assert "$" not in re.sub(r"<span>\$</span>", "", html), "two dollars in one text would be read as a formula"
    assert "mathjax_ignore" in html


def test_nothing_is_loaded_and_nothing_runs(session: rt.RealtimeSession) -> None:
    turn = session.ask(text="Good morning.")
    client = rt.RealtimeClient(KEY)
    for thing in (turn, turn.responses[0], session, client):
        page, _, _ = bundle(thing)
        assert page.tags <= {"div", "p", "b", "i", "span", "small", "code", "br", "table", "tr", "td", "audio"}
        for name, value in page.attributes:
            assert name in ("class", "style", "controls", "preload", "src")
            assert name != "src" or value.startswith("data:audio/wav;base64,")
            assert "url(" not in value
            # On white and on black alike: no colour for text or background but the marks' own.
            assert name != "style" or not re.search(r"(?<![-\w])color:(?!inherit|#2e9e5b|#d9902f|#d64545|#888)", value)
            assert name != "style" or not re.search(r"background:(?!none|#d9902f|#3f8fd9)", value)


def test_functions_that_were_called_stand_between_question_and_answer(session: rt.RealtimeSession) -> None:
    @session.tool
    def weather(city: str) -> str:
        """Tell the weather."""
        return f"sunny in {city}"

    page, _, plain = bundle(session.ask(text="How is the weather?"))
    assert re.search(r'weather\?Calls weather\(\{"city": "<Rome>"\}\)Model ', page.text)
    assert 'Calls: weather({"city": "<Rome>"})' in plain


def test_a_voice_that_is_too_long_is_not_put_into_the_notebook(session: rt.RealtimeSession) -> None:
    turn = session.ask(text="a long one")
    assert len(turn.audio) > EMBEDDED_BYTES
    for thing in (turn, turn.responses[0]):
        page, html, plain = bundle(thing)
        assert "audio" not in page.tags
        assert "The speech lasts 62.6 s, too long to be kept in a notebook (3.0 MB; the limit is 3 MB)." in page.text
        assert len(html) < 5_000
        assert "62.6 s" in plain
    assert 'turn.save("answer.wav") writes it into a file.' in bundle(turn)[0].text


def test_a_voice_just_short_enough_is_there() -> None:
    pcm = bytes(EMBEDDED_BYTES)
    sheet = Sheet(name="Turn", sound=Sound(pcm=pcm, size=len(pcm), rate=24_000))
    assert player(as_html(sheet)) == wav_bytes(pcm, 24_000)


def test_a_turn_that_failed_says_why(session: rt.RealtimeSession) -> None:
    with pytest.raises(rt.RealtimeError) as caught:
        session.ask(text="fail")
    page, _, plain = bundle(caught.value.turn)  # type: ignore[attr-defined]
    assert "failed" in page.text
    assert "<out of> memory" in page.text
    assert "As far as" in page.text
    assert "<out of> memory" in plain


def test_a_turn_that_still_runs_shows_what_came_so_far() -> None:
    with (
        Emulator(answer=lambda heard: Answer(text="So far and further", hold_after_ms=100)) as emulator,
        rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None, modalities=["text"]) as session,
    ):
        turn = session.ask(text="Hello?", stream=True)
        for _ in turn:
            break
        page, _, plain = bundle(turn)
        assert "in progress" in page.text
        assert "Model So" in page.text
        assert plain.startswith("Turn (in_progress)")


def test_a_session_shows_how_it_stands(emulator: Emulator) -> None:
    session = rt.RealtimeClient(KEY, url=emulator.url).session(voice="Tina")
    page, _, plain = bundle(session)
    assert "not connected" in page.text
    assert plain.splitlines()[0] == "RealtimeSession (not connected)"
    with session:
        session.ask(ROOT / "samples" / "data" / "question.wav")
        page, _, plain = bundle(session)
        assert "RealtimeSession ● open" in page.text
        for text in (session.id, "qwen3.5-omni-flash-realtime", "found by the service (VAD)", "Tina", "audio sent"):
            assert text in page.text
            assert text in plain
    assert "closed" in bundle(session)[0].text


def test_a_session_that_was_ended_says_why(emulator: Emulator) -> None:
    with rt.RealtimeClient(KEY, url=emulator.url).session() as session:
        emulator.drop(1011, "<gone>")
        session.wait_closed(5)
        page, _, _ = bundle(session)
    assert "closed by the server (code 1011, '<gone>')" in page.text


@pytest.mark.parametrize(
    ("options", "environment", "shows"),
    [
        ({"api_key": KEY}, None, "•••••••• given as api_key"),
        ({"api_key": lambda: KEY}, None, "from a function"),
        ({}, KEY, "•••••••• from DASHSCOPE_API_KEY"),
        ({}, None, "missing: give api_key, or set DASHSCOPE_API_KEY"),
    ],
)
def test_a_client_shows_where_it_goes_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], environment: str | None, shows: str
) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)
    monkeypatch.delenv("DASHSCOPE_REALTIME_URL", raising=False)
    if environment is not None:
        monkeypatch.setenv("DASHSCOPE_API_KEY", environment)
    client = rt.RealtimeClient(**options, region="ap-southeast-1", workspace="llm-example", proxy="http://u:p@proxy:1")
    page, html, plain = bundle(client)
    for text in (shows, "ap-southeast-1", "llm-example.ap-southeast-1.maas.aliyuncs.com"):
        assert text in page.text
        assert text in plain
    for secret in (KEY, KEY[-4:], "u:p"):
        assert secret not in html
        assert secret not in plain


def test_a_client_with_an_address_of_its_own_has_no_region() -> None:
    page, _, _ = bundle(rt.RealtimeClient(KEY, url="wss://relay.example/v1"))
    assert "relay.example" in page.text
    assert "region" not in page.text


def test_a_sheet_with_nothing_in_it_is_a_name() -> None:
    assert as_text(Sheet(name="Turn")) == "Turn"
    assert Balanced(as_html(Sheet(name="Turn"))).text == "Turn"


@pytest.mark.parametrize(("value", "text"), [(0.4, "0 ms"), (312.4, "312 ms"), (4210, "4.21 s"), (62_500, "62.5 s")])
def test_times_are_written_for_people(value: float, text: str) -> None:
    assert ms(value) == text
