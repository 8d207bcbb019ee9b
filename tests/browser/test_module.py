"""The JavaScript module alone, in a real browser, against a server that says what the test wants."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import dashscope_rt

from .conftest import RECORDER, Launch, need_browser, played, recorded, watch

need_browser()
np = pytest.importorskip("numpy")

if TYPE_CHECKING:
    from playwright.sync_api import Page, WebSocketRoute

QUESTION = Path(__file__).parents[2] / "samples" / "data" / "question.wav"
STATIC = Path(dashscope_rt.__file__).parent / "web" / "static"
PAGE = """<!doctype html><title>module</title><link rel=icon href="data:,"><button id=go>Go</button><script type=module>
import { Voice } from "/static/dashscope-rt.js";
window.voice = new Voice("/voice/ws", { deviceRate: 24000 });
window.events = [];
for (const type of ["state", "ready", "transcript", "response_done", "played", "latency", "error", "camera", "closed"])
  voice.addEventListener(type, ({ detail }) =>
    events.push({ type, ...detail, ...(detail instanceof Error ? { code: detail.code, message: detail.message } : {}) }));
window.seen = (type, check = () => true) => events.some((event) => event.type === type && check(event));
go.onclick = () => voice.start(window.what).catch(() => {});
</script>"""
READY = {
    "type": "ready", "version": 1, "model": "m", "voice": "v", "mode": "vad", "input_rate": 16000,
    "output_rate": 24000, "images": True, "max_message": 1048576,
}  # fmt: skip


def tone(hz: float, ms: int) -> bytes:
    """Mono s16le at 24,000 Hz. It starts and ends at zero, so that a click can only come from being cut."""
    count = 24 * ms
    wave = np.sin(2 * np.pi * hz * np.arange(count) / 24_000) * np.minimum(1, np.minimum(np.arange(count), count - np.arange(count)) / 240)
    return (wave * 12_000).astype("<i2").tobytes()


def audio(turn: int, pcm: bytes) -> list[bytes]:
    """Frames of half a second: few, so that the way from here to the browser makes no holes."""
    return [struct.pack("<BBH", 1, 0, turn & 0xFFFF) + pcm[at : at + 24_000] for at in range(0, len(pcm), 24_000)]


class Server:
    """The other end of the page's WebSockets.

    Attributes:
        said: What the page said, all connections together: objects, or bytes.
        answer: Called with each message; what it returns is sent.
        sockets: One for each connection.
    """

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.sockets: list[WebSocketRoute] = []
        self.answer: Callable[[Any], list[Any]] = lambda message: [READY] if message["type"] == "start" else []

    def accept(self, socket: WebSocketRoute) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda data: self._take(socket, data))

    def _take(self, socket: WebSocketRoute, data: str | bytes) -> None:
        message = data if isinstance(data, bytes) else json.loads(data)
        self.said.append(message)
        if isinstance(message, dict):
            self.send(*self.answer(message), socket=socket)

    def send(self, *messages: Any, socket: WebSocketRoute | None = None) -> None:
        for message in messages:
            (socket or self.sockets[-1]).send(message if isinstance(message, bytes) else json.dumps(message))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.said if isinstance(message, dict) and message["type"] == kind]


class Files(SimpleHTTPRequestHandler):
    """The page and the module, over HTTP: worklets do not come by way of the browser's request hooks."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, directory=str(STATIC))

    def do_GET(self) -> None:
        if self.path.startswith("/static/"):
            self.path = self.path.removeprefix("/static")
            return super().do_GET()
        status = 200 if self.path == "/" else self.server.status  # type: ignore[attr-defined]
        body = PAGE if self.path == "/" else json.dumps({"error": "log in first"})
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(body.encode())
        return None

    def log_message(self, *_: Any) -> None:
        """Not to the terminal."""


@pytest.fixture
def files() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as files:
        files.status = 426  # type: ignore[attr-defined]
        thread = threading.Thread(target=files.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield files
        files.shutdown()
        thread.join()


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def page(launch: Launch, server: Server, files: ThreadingHTTPServer) -> Iterator[Page]:
    """A page with a `voice`, not started."""
    page = launch(QUESTION).new_page()
    problems = watch(page)
    page.route_web_socket("**/voice/ws", server.accept)
    page.goto(f"http://127.0.0.1:{files.server_port}/")
    page.wait_for_function("window.voice")
    page.add_script_tag(content=RECORDER)
    yield page
    assert problems == []


@pytest.fixture
def open_page(page: Page) -> Page:
    """The same with an open conversation, and what it plays is recorded."""
    page.click("#go")
    page.wait_for_function("voice.state === 'open'")
    page.evaluate("record(voice)")
    return page


def test_what_the_server_sends_is_what_sounds_sample_by_sample(open_page: Page, server: Server) -> None:
    pcm = tone(440, 1000)
    server.send({"type": "response_started", "turn": 1}, *audio(1, pcm), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.finished)")
    recorded(open_page)
    sound = played(open_page)
    assert sound.rate == 24_000
    heard = np.round(sound.samples * 32768).astype("<i2")
    start = heard.tobytes().find(pcm[4:])  # its first sample is 0, like the silence before
    assert start > 0, "every sample, in order, none twice"
    assert not heard[start // 2 + len(pcm) // 2 :].any(), "and then silence"
    assert server.of("played")[-1] == {"type": "played", "turn": 1, "ms": 1000}
    told = [message["ms"] for message in server.of("played")]
    assert told == sorted(told)
    assert 3 <= len(told) <= 8, "about five times a second"


def test_a_flush_fades_at_once_and_what_still_comes_of_that_turn_is_silent(open_page: Page, server: Server) -> None:
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 5000)))
    open_page.wait_for_function("seen('played', (event) => event.ms > 300)")
    server.send({"type": "flush", "turn": 1}, *audio(1, tone(440, 500)))
    open_page.wait_for_function("seen('played', (event) => event.finished && event.flushed)")
    recorded(open_page, ms=200)
    server.send(*audio(1, tone(440, 500)), {"type": "response_started", "turn": 2}, *audio(2, tone(1000, 400)))
    server.send({"type": "response_done", "turn": 2, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.turn === 2 && event.finished)")
    recorded(open_page)
    sound = played(open_page)
    loud = sound.loud()
    (gap,) = np.flatnonzero(np.diff(loud) > 2000)  # one pause, between the turns
    first, second = loud[: gap + 1] - sound.first, loud[gap + 1 :] - sound.first
    cut = sound.samples[first[0] : first[-1] + 1]
    assert 300 < len(cut) / 24 < 3000
    # A tone of 440 Hz moves by 0.043 from one sample to the next at this loudness; a click would be a jump.
    assert np.abs(np.diff(sound.samples)).max() < 0.1
    assert np.abs(cut[-24:]).max() < 0.08, "the last millisecond has faded"
    assert abs(second[-1] - second[0] - 400 * 24) < 24, "the second turn is whole"
    spectrum = np.abs(np.fft.rfft(sound.samples[second[0] : second[-1]]))
    assert abs(np.argmax(spectrum) * 24_000 / (second[-1] - second[0]) - 1000) < 10, "and nothing of the first is in it"
    heard = [message["ms"] for message in server.of("played") if message["turn"] == 1][-1]
    assert abs(heard - len(cut) / 24) < 10, "the server is told how much really sounded"


def test_stopping_the_answer_tells_the_server_too(open_page: Page, server: Server) -> None:
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 3000)))
    open_page.wait_for_function("voice.phase === 'speaking'")
    open_page.evaluate("voice.interrupt()")
    assert open_page.evaluate("voice.phase") == "listening"
    open_page.wait_for_function("seen('played', (event) => event.finished && event.flushed)")
    assert server.of("interrupt") == [{"type": "interrupt"}]


def test_a_hole_in_the_stream_fades_out_and_comes_back(open_page: Page, server: Server) -> None:
    pcm = tone(440, 801)
    server.send({"type": "response_started", "turn": 1}, *audio(1, pcm[: 48 * 401]))  # in the middle of a wave
    open_page.wait_for_function("voice.stats.holes === 1")
    server.send(*audio(1, pcm[48 * 401 :]), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.finished)")
    recorded(open_page)
    sound = played(open_page)
    assert len(sound.loud()) > 0.9 * 801 * 24
    assert np.abs(np.diff(sound.samples)).max() < 0.1, "no click"
    assert server.of("played")[-1]["ms"] == 801, "nothing is lost, and nothing sounds twice"


def test_an_answer_begins_when_enough_of_it_is_there(open_page: Page, server: Server) -> None:
    pcm = tone(440, 400)
    server.send({"type": "response_started", "turn": 1}, *audio(1, pcm[:4800]))  # 100 ms
    open_page.wait_for_function("window.later ??= recording.now() + 0.3 * recording.rate, recording.now() > later")
    server.send(*audio(1, pcm[4800:]), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.finished)")
    recorded(open_page)
    loud = played(open_page).loud()
    assert loud[0] > open_page.evaluate("later"), "a beginning that would have to stop at once waits"
    assert loud[-1] - loud[0] > 395 * 24, "and is not torn"
    assert open_page.evaluate("voice.stats.holes") == 0


def test_a_short_answer_need_not_fill_the_buffer(open_page: Page, server: Server) -> None:
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 40)), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.finished && event.ms === 40)")


def test_turn_numbers_run_over_after_65535(open_page: Page, server: Server) -> None:
    turns = (65535, 65536, 65537, 200_000)  # with so many at once the message before says it
    for turn in turns:
        server.send({"type": "response_started", "turn": turn}, *audio(turn, tone(440, 60)), {"type": "response_done", "turn": turn, "status": "completed"})
    for turn in turns:
        open_page.wait_for_function(f"seen('played', (event) => event.turn === {turn} && event.finished && event.ms === 60)")


def test_the_microphone_comes_as_frames_of_16000_hz(open_page: Page, server: Server) -> None:
    open_page.wait_for_function("voice.stats.framesSent >= 25")
    frames = [message for message in server.said if isinstance(message, bytes)]
    assert {len(frame) for frame in frames} == {4 + 2 * 640}, "40 ms each"
    assert all(frame[:4] == b"\1\0\0\0" for frame in frames)
    assert server.said[0] == {"type": "start", "version": 1, "rate": 16000}
    pcm = np.frombuffer(b"".join(frame[4:] for frame in frames), "<i2")
    assert np.abs(pcm.astype(int)).max() > 1000, "and one hears somebody speak"


def test_the_microphone_is_opened_with_echo_cancellation(page: Page) -> None:
    page.evaluate('''() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      navigator.mediaDevices.getUserMedia = async (wanted) => (window.stream = await real(wanted));
    }''')
    page.click("#go")
    page.wait_for_function("voice.state === 'open'")
    settings = page.evaluate("stream.getAudioTracks()[0].getSettings()")
    assert (settings["echoCancellation"], settings["noiseSuppression"], settings["autoGainControl"]) == (True, True, True)
    page.evaluate("voice.stop()")
    assert page.evaluate("stream.getAudioTracks()[0].readyState") == "ended", "the browser's red dot goes out"


def test_sound_that_the_browser_has_stopped_goes_on(open_page: Page, server: Server) -> None:
    # Phones do this for a call.
    assert open_page.evaluate("voice.output.context.suspend().then(() => true)")
    open_page.wait_for_function("voice.output.context.state === 'running'")
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 200)), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.finished && event.ms === 200)")
    assert not open_page.evaluate("seen('error')")


@pytest.mark.parametrize(
    ("name", "code"),
    [("NotAllowedError", "microphone-denied"), ("NotFoundError", "microphone-missing"), ("NotReadableError", "microphone-busy")],
)
def test_what_is_wrong_with_the_microphone_is_told(page: Page, name: str, code: str) -> None:
    page.evaluate("(name) => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', name) } }", name)
    page.click("#go")
    page.wait_for_function("voice.state === 'closed' && seen('error')")
    (error,) = page.evaluate("events.filter(({ type }) => type === 'error')")
    assert error["code"] == code
    assert error["message"].endswith("try again.")


def test_muted_it_goes_on_sending_but_only_silence(open_page: Page, server: Server) -> None:
    open_page.wait_for_function("voice.stats.framesSent > 2")
    open_page.evaluate("voice.mute(true)")
    sent = open_page.evaluate("voice.stats.framesSent")
    open_page.wait_for_function(f"voice.stats.framesSent > {sent} + 30")
    frames = [message for message in server.said if isinstance(message, bytes)]
    assert not np.frombuffer(b"".join(frame[4:] for frame in frames[-25:]), "<i2").any()


def test_the_camera_sends_jpeg_frames_that_the_service_takes(open_page: Page, server: Server) -> None:
    open_page.evaluate("voice.cameraOn({ intervalMs: 500 })")
    open_page.wait_for_function("voice.stats.picturesSent >= 2")
    pictures = [message for message in server.said if isinstance(message, bytes) and message[0] == 2]
    assert all(picture[4:7] == b"\xff\xd8\xff" and len(picture) < 190_000 for picture in pictures)
    open_page.evaluate("voice.cameraOff()")
    assert open_page.evaluate("events.filter(({ type }) => type === 'camera').map(({ on }) => on)") == [True, False]


def test_a_lost_connection_comes_back_by_itself_as_a_new_session(open_page: Page, server: Server) -> None:
    server.send({"type": "response_started", "turn": 7}, *audio(7, tone(440, 300)))
    open_page.wait_for_function("seen('played', (event) => event.turn === 7)")
    server.sockets[0].close(code=1011, reason="the service failed")
    open_page.wait_for_function("seen('state', (event) => event.state === 'reconnecting')")
    open_page.wait_for_function("voice.state === 'open'")
    assert len(server.sockets) == 2
    assert len(server.of("start")) == 2
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 200)), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.turn === 8 && event.finished && event.ms === 200)")
    assert server.of("played")[-1] == {"type": "played", "turn": 1, "ms": 200}, "in the new session's own numbers"


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [(1008, "too slow", "The server has ended the conversation: too slow"), (1009, "", "The server has ended the conversation.")],
)
def test_a_refusal_is_not_tried_again(open_page: Page, server: Server, code: int, reason: str, told: str) -> None:
    server.sockets[0].close(code=code, reason=reason)
    open_page.wait_for_function("voice.state === 'closed' && seen('error')")
    assert open_page.evaluate("events.find(({ type }) => type === 'error').message") == told
    assert len(server.sockets) == 1


@pytest.mark.parametrize(
    ("frames", "code", "told"),
    [
        ([], 1013, "busy"),
        ([], 1006, "unreachable"),
        ([{"type": "error", "code": "invalid_api_key", "message": "the key was refused", "fatal": True}], 1011, "invalid_api_key"),
    ],
)  # fmt: skip
def test_what_fails_at_the_start_is_told_once(
    page: Page, server: Server, frames: list[Any], code: int, told: str
) -> None:
    def refuse(message: Any) -> list[Any]:
        server.send(*frames)
        server.sockets[-1].close(code=code if code != 1006 else 3000)
        return []

    server.answer = refuse
    page.click("#go")
    page.wait_for_function("voice.state === 'closed' && seen('error')")
    assert page.evaluate("events.filter(({ type }) => type === 'error').map(({ code, message }) => `${code}`)") == [told]
    assert page.evaluate("voice.output") is None, "the microphone is given back"


def test_a_refused_login_is_told_in_the_server_s_words(page: Page, server: Server, files: ThreadingHTTPServer) -> None:
    files.status = 401  # type: ignore[attr-defined]  # what the upgrade was refused with, too, but pages cannot see that
    server.answer = lambda message: server.sockets[-1].close(code=3000) or []
    page.click("#go")
    page.wait_for_function("voice.state === 'closed' && seen('error')")
    assert page.evaluate("events.find(({ type }) => type === 'error').message") == (
        "The server does not let this page in: log in first"
    )


def test_the_phases_of_a_spoken_turn_also_when_its_sound_overtakes_the_messages(open_page: Page, server: Server) -> None:
    phases = "events.filter(({ type }) => type === 'state').map(({ phase }) => phase)"
    server.send({"type": "speech_started"}, {"type": "speech_stopped"}, {"type": "response_started", "turn": 1})
    server.send(*audio(1, tone(440, 300)), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.turn === 1 && event.finished)")
    assert open_page.evaluate(phases)[-4:] == ["hearing", "thinking", "speaking", "listening"]
    server.send({"type": "speech_started"}, {"type": "response_started", "turn": 2}, *audio(2, tone(440, 300)))
    open_page.wait_for_function("seen('played', (event) => event.turn === 2)")
    server.send({"type": "speech_stopped"}, {"type": "response_done", "turn": 2, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.turn === 2 && event.finished)")
    assert open_page.evaluate(phases)[-3:] == ["hearing", "speaking", "listening"]


def test_typing_needs_no_microphone(page: Page, server: Server) -> None:
    page.evaluate("void (navigator.mediaDevices.getUserMedia = () => { throw new Error('was asked for') })")
    page.evaluate("window.what = { microphone: false }")
    page.click("#go")
    page.wait_for_function("voice.state === 'open'")
    page.evaluate("voice.sendText('hello')")
    page.wait_for_function("voice.phase === 'thinking'")
    server.send({"type": "response_started", "turn": 1}, {"type": "transcript", "turn": 1, "text": "hi", "final": True})
    server.send({"type": "response_done", "turn": 1, "status": "completed", "text": "hi"})
    page.wait_for_function("seen('response_done') && voice.phase === 'listening'")
    assert server.of("text") == [{"type": "text", "text": "hello"}]


def test_ending_says_so_and_a_second_conversation_starts_afresh(open_page: Page, server: Server) -> None:
    server.send({"type": "response_started", "turn": 3}, *audio(3, tone(440, 200)))
    open_page.wait_for_function("seen('played')")
    open_page.evaluate("voice.stop()")
    open_page.wait_for_function("voice.state === 'closed'")
    open_page.click("#go")
    open_page.wait_for_function("voice.state === 'open'")
    server.send({"type": "response_started", "turn": 1}, *audio(1, tone(440, 200)), {"type": "response_done", "turn": 1, "status": "completed"})
    open_page.wait_for_function("seen('played', (event) => event.turn === 4 && event.finished && event.ms === 200)")
    assert server.of("stop") == [{"type": "stop"}]


def test_sending_without_a_conversation_says_what_to_do(page: Page) -> None:
    assert page.evaluate("(() => { try { voice.sendText('x') } catch (error) { return error.message } })()") == (
        "There is no conversation yet. Start one first."
    )
