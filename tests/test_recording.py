"""Recordings: whole, without secrets, readable after a crash, and played back as they were."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.recording import Recorder, Recording, Replay
from dashscope_rt.testing import Answer, Emulator, FunctionCall, replaying

from .peer import SOON

ROOT = Path(__file__).parent.parent
QUESTION = ROOT / "samples" / "data" / "question.wav"
KEY = "sk-recording-0123456789"
SAID = "My diary says: the code of the safe is 4711."


def record(
    path: Path, answers: Any = None, text: str | None = None, session: dict[str, Any] | None = None, **options: bool
) -> rt.Turn:
    with Emulator(answers) as emulator:
        opened = rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None, **(session or {}))
        with Recorder(path, **options).attach(opened), opened:
            turn = opened.ask(None if text else QUESTION, text=text, timeout=SOON)
        emulator.check()
    return turn


def test_everything_that_went_over_the_wire_is_in_it(tmp_path: Path) -> None:
    turn = record(tmp_path / "a b.jsonl")
    recording = Recording.read(tmp_path / "a b.jsonl")
    ways = [(entry.way, entry.type) for entry in recording.entries]
    assert ways[0] == ("received", "session.created")
    assert ("sent", "session.update") in ways
    assert ways[-1] == ("closed", "")
    assert recording.entries[-1].facts["who"] == "client"
    sent = b"".join(entry.media for entry in recording.entries if entry.way == "sent")
    assert sent == rt.audio.read_wav(QUESTION).pcm
    heard = b"".join(entry.media for entry in recording.received() if entry.type == "response.audio.delta")
    assert heard == turn.audio
    assert not recording.torn
    assert [entry.at for entry in recording.received()] == sorted(entry.at for entry in recording.received())
    assert oct((tmp_path / "a b.jsonl").stat().st_mode & 0o777) == "0o600"


def test_secrets_are_never_written(tmp_path: Path) -> None:
    tools = [
        {
            "type": "mcp",
            "server_label": "x",
            "server_url": "https://x.example/?token=abc123",
            "authorization": "abc123",
            "headers": {"X-Mine": "abc123"},
        }
    ]
    session = {
        "model": "qwen3.8-omni-flash-realtime",
        "tools": tools,
        "instructions": "The key is sk-abcdef123456 and Bearer abc123.",
    }
    record(tmp_path / "r.jsonl", text="Hello", session=session)
    written = (tmp_path / "r.jsonl").read_text()
    for secret in (KEY, "abc123", "sk-abcdef123456", "x.example"):
        assert secret not in written
    update = next(entry for entry in Recording.read(tmp_path / "r.jsonl").entries if entry.type == "session.update")
    assert update.event["session"]["tools"][0]["headers"] == {"X-Mine": "[removed]"}


def test_a_private_recording_holds_no_words_no_voices_no_ids(tmp_path: Path) -> None:
    calls = [
        Answer(
            text=SAID,
            audio=bytes(range(256)) * 100,
            input_transcript=SAID,
            function_calls=[FunctionCall("note", {"what": SAID})],
        )
    ]
    record(tmp_path / "r.jsonl", calls, session={"instructions": SAID}, texts=False, audio=False, ids=False)
    written = (tmp_path / "r.jsonl").read_text()
    for word in ("diary", "safe", "4711"):
        assert word not in written
    assert base64.b64encode(bytes(range(200))).decode()[:100] not in written
    recording = Recording.read(tmp_path / "r.jsonl")
    session = next(recording.received()).event["session"]
    assert session["id"].startswith("sess_")
    assert len(session["id"]) < 12
    kinds = {entry.type for entry in recording.received()}
    assert {"response.audio.delta", "response.done"} <= kinds
    delta = next(entry for entry in recording.received() if entry.type == "response.audio.delta")
    assert base64.b64decode(delta.event["delta"]) == bytes(delta.media_bytes)
    assert delta.media_bytes > 0


def test_errors_keep_their_texts_in_a_private_recording(tmp_path: Path) -> None:
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "This is wrong.", "param": "session"}
    with pytest.raises(rt.RealtimeError):
        record(tmp_path / "r.jsonl", [Answer(text="x", error=error, close=(1011, "It broke."))], text="x", texts=False)
    assert "This is wrong." in (tmp_path / "r.jsonl").read_text()


def test_a_killed_program_leaves_a_readable_recording(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    code = (
        "import sys, dashscope_rt as rt; from dashscope_rt.recording import Recorder\n"
        "session = rt.RealtimeClient('sk-x', url=sys.argv[1]).session(turn_detection=None)\n"
        "Recorder(sys.argv[2]).attach(session); session.connect(); session.ask(text='Hello')\n"
    )
    with Emulator([Answer(text="One two three", hold_after_ms=100)]) as emulator:
        command = [sys.executable, "-c", code, emulator.url, str(path)]
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            emulator.wait_for_sent("response.audio.delta", timeout=2 * SOON)
            deadline = time.monotonic() + SOON
            while b"response.audio.delta" not in path.read_bytes() and time.monotonic() < deadline:
                pass
            process.send_signal(signal.SIGKILL)
    recording = Recording.read(path)
    assert "response.audio.delta" in {entry.type for entry in recording.received()}
    with path.open("ab") as file:
        file.write(b'{"at": 1.0, "way": "rec')
    torn = Recording.read(path)
    assert torn.torn
    assert len(torn.entries) == len(recording.entries)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no recording"),
        ("{}\n", "no recording"),
        ('{"dashscope_rt_recording": 2}\n', "version 2"),
        ("\x00\xff", "no recording"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "r").write_text(content)
    with pytest.raises(ValueError, match=said):
        Recording.read(tmp_path / "r")


def test_a_broken_line_in_the_middle_costs_that_line_only(tmp_path: Path) -> None:
    record(tmp_path / "r.jsonl", text="Hello")
    lines = (tmp_path / "r.jsonl").read_bytes().split(b"\n")
    lines[3] = b"\xff garbage"
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(lines))
    recording = Recording.read(tmp_path / "r.jsonl")
    assert recording.problems == ("line 4 cannot be read",)
    assert len(recording.entries) == len(lines) - 3


def test_no_file_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("precious")
    session = rt.RealtimeClient(KEY, url="ws://127.0.0.1:1").session()
    with pytest.raises(FileExistsError):
        Recorder(tmp_path / "r.jsonl").attach(session)
    assert (tmp_path / "r.jsonl").read_text() == "precious"


def test_a_full_disk_ends_the_recording_and_not_the_session(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    (tmp_path / "r.jsonl").symlink_to("/dev/full")
    with Emulator() as emulator:
        session = rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None)
        with pytest.raises(OSError):
            Recorder(tmp_path / "r.jsonl", overwrite=True).attach(session)
        recorder = Recorder(tmp_path / "s.jsonl").attach(session)
        assert recorder._writer is not None
        recorder._writer._file.close()
        recorder._writer._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        with session:
            assert session.ask(text="Hello", timeout=SOON).text
        recorder.close()
    assert isinstance(recorder.error, OSError)


def test_callbacks_get_the_same_again(tmp_path: Path) -> None:
    turn = record(
        tmp_path / "r.jsonl", [Answer(text="Yes.", function_calls=[FunctionCall("f", {"a": 1})])], text="Hello"
    )
    replay = Replay(tmp_path / "r.jsonl")
    done: list[rt.Response] = []
    seen: list[str] = []
    replay.on_done(done.append)
    replay.on_open(lambda event: seen.append("open"))
    replay.on_sent(lambda sent: seen.append(sent.type))
    replay.on_function_call(lambda call: seen.append(call.respond("ok") and call.name))
    replay.on_close(lambda info: seen.append(info.who))
    replay.run(speed=0)
    assert [response.text for response in done] == [turn.text]
    assert done[0].audio == turn.audio
    assert seen[0] == "open"
    assert seen[-1] == "client"
    assert {"session.update", "response.create", "f"} <= set(seen)


def test_time_passes_as_it_did(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    line = {"way": "received", "event": {"type": "response.created", "response": {"id": "r"}}}
    lines = [{"dashscope_rt_recording": 1, "model": "m"}, {**line, "at": 0.0}, {**line, "at": 0.4}]
    path.write_text("".join(json.dumps(each) + "\n" for each in lines))
    took = []
    for speed in (0, 1, 4):
        began = time.monotonic()
        Replay(path).run(speed)
        took.append(time.monotonic() - began)
    assert took[0] < 0.3 < 0.4 <= took[1]
    assert 0.1 <= took[2] < 0.4


def test_the_emulator_says_it_again(tmp_path: Path) -> None:
    turn = record(tmp_path / "r.jsonl", [Answer(text="From the recording.")])
    with Emulator(hooks=replaying(tmp_path / "r.jsonl")) as emulator:
        client = rt.RealtimeClient(KEY, url=emulator.url)
        for _ in range(2):  # each connection from the start
            with client.session(turn_detection=None) as session:
                again = session.ask(QUESTION, timeout=SOON)
            assert (again.text, again.audio, again.input_transcript) == (turn.text, turn.audio, turn.input_transcript)
        assert emulator.wait_for("input_audio_buffer.commit", count=2)
        emulator.check()


def test_a_replayed_refusal_finds_the_event_of_this_client(tmp_path: Path) -> None:
    def ask(url: str) -> rt.APIError:
        with rt.RealtimeClient(KEY, url=url).session(turn_detection=None) as session:
            with pytest.raises(rt.APIError) as caught:
                session.wait_ack(session.send_raw({"type": "session.update", "session": {"voice": "Nobody"}}), SOON)
            return caught.value

    with Emulator(error_event_ids=True) as emulator:
        opened = rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None)
        with Recorder(tmp_path / "r.jsonl").attach(opened), opened, pytest.raises(rt.APIError):
            opened.wait_ack(opened.send_raw({"type": "session.update", "session": {"voice": "Nobody"}}), SOON)
    with Emulator(hooks=replaying(tmp_path / "r.jsonl")) as emulator:
        refused = ask(emulator.url)
        updates = [record.event["event_id"] for record in emulator.received if record.type == "session.update"]
    assert refused.client_event_id == updates[-1]


def test_a_server_that_hung_up_hangs_up_again(tmp_path: Path) -> None:
    with pytest.raises(rt.RealtimeError):
        record(tmp_path / "r.jsonl", [Answer(text="x", close=(1011, "It broke."))], text="Hello")
    with (
        Emulator(hooks=replaying(tmp_path / "r.jsonl")) as emulator,
        pytest.raises(rt.RealtimeError, match=r"It broke\."),
    ):
        rt.RealtimeClient(KEY, url=emulator.url).ask(text="Hello", timeout=SOON)


def test_the_fixture_plays_a_recording_beside_the_test(tmp_path: Path) -> None:
    turn = record(tmp_path / "r.jsonl", text="Hello")
    (tmp_path / "test_it.py").write_text(
        f"""
import dashscope_rt as rt

def test_it(dashscope_replay):
    client = rt.RealtimeClient("sk-x", url=dashscope_replay("r.jsonl").url)
    assert client.ask(text="Hello").text == {turn.text!r}
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "dashscope_rt.testing.fixtures", "test_it.py"],
        capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    assert "1 passed" in done.stdout, done.stdout


def test_what_was_sent_is_told_in_order(tmp_path: Path) -> None:
    sent: list[rt.Sent] = []
    with (
        Emulator() as emulator,
        rt.RealtimeClient(KEY, url=emulator.url).session(turn_detection=None, on_sent=sent.append) as session,
    ):
        session.ask(text="Hello", timeout=SOON)
    assert [each.type for each in sent] == [record.type for record in emulator.received]
    assert [each.event for each in sent] == [record.event for record in emulator.received]
    assert "Hello" not in repr(sent)
    assert sent == sorted(sent, key=lambda each: each.at)
