"""``chat``: at a terminal, in a pipe, by ear."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dashscope_rt.audio import read_wav, silence, write_wav
from dashscope_rt.testing import Answer, Emulator

from ..peer import SOON
from .conftest import KEY, QUESTION, Run, environment

pty = pytest.importorskip("pty")


class Terminal:
    """A program at a pseudo-terminal."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.raw = b""

    def wait_for(self, pattern: str, timeout: float = 2 * SOON) -> str:
        """Read until the screen's text has it; returns what was shown since the last match."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.text)):
            left = deadline - time.monotonic()
            assert left > 0, f"{pattern!r} did not appear, but {self.text!r}"
            if select.select([self.master], [], [], left)[0]:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    data = b""
                assert data, f"the program ended before {pattern!r} appeared: {self.text!r}"
                self.raw += data
        shown = self.text[: found.end()]
        self.raw = b""
        return shown

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", self.raw.decode("utf-8", "replace"))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def ends(self) -> int:
        """Read to the end; returns the exit code."""
        deadline = time.monotonic() + 2 * SOON
        while time.monotonic() < deadline and self.process.poll() is None:
            if select.select([self.master], [], [], 0.05)[0]:
                try:
                    self.raw += os.read(self.master, 65536)
                except OSError:
                    break
        return self.process.wait(SOON)


@contextmanager
def terminal(folder: Path, *arguments: str, **more: str) -> Iterator[Terminal]:
    import fcntl
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))

    def make_it_ours() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "dashscope_rt", *arguments],
        stdin=slave, stdout=slave, stderr=slave, cwd=folder, preexec_fn=make_it_ours,
        env=environment(folder, TERM="xterm-256color", **more),
    )  # fmt: skip
    os.close(slave)
    try:
        yield Terminal(master, process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(SOON)
        os.close(master)


def test_a_person_talks_at_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "a question.wav").write_bytes(QUESTION.read_bytes())
    long = Answer(text="One two three four five six seven eight nine ten eleven twelve.", hold_after_ms=400)
    with Emulator([Answer(text="Guten Tag! 你好"), long], api_keys={KEY}) as emulator:
        where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
        with terminal(tmp_path, "chat", "--text", "-o", "answers/", **where) as person:
            person.wait_for(r"› $")
            person.type("Grüß Gott, 你好\n")
            shown = person.wait_for(r"(?s)Model: Guten Tag! 你好.*answered after .* tokens.*› $")
            assert "answers/answer-001.wav" in shown
            person.type("/audio a question.wav\n")
            person.wait_for(r"Model: One two")
            person.type("\x03")  # Ctrl-C in the middle of an answer stops the answer, not the program
            person.wait_for(r"(?s)stopped.*› $")
            assert emulator.wait_for("response.cancel")
            person.type("And now?\n")
            person.wait_for(r"(?s)Model: This is the emulator\. You wrote: And now\?.*› $")
            person.type("/hlep\n")
            person.wait_for(r"(?s)did you mean '/help'\?.*› $")
            person.type("\x04")
            assert person.ends() == 0
            assert KEY not in person.text
        assert read_wav(tmp_path / "answers" / "answer-001.wav").pcm
        assert (tmp_path / "answers" / "answer-002.wav").exists()
        assert emulator.wait_for("conversation.item.create").event["item"]["content"][0]["text"] == "Grüß Gott, 你好"
        emulator.check()


@pytest.mark.full
def test_ctrl_c_at_the_prompt_leaves_with_130(tmp_path: Path, emulator: Emulator) -> None:
    where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
    with terminal(tmp_path, "chat", "--text", **where) as person:
        person.wait_for(r"› $")
        person.type("\x03")
        assert person.ends() == 130
        assert "Traceback" not in person.text
    assert emulator.wait_closed().closed_by == "client"


@pytest.mark.full
def test_a_session_that_ends_wakes_the_prompt(tmp_path: Path, emulator: Emulator) -> None:
    where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
    with terminal(tmp_path, "chat", "--text", **where) as person:
        person.wait_for(r"› $")
        emulator.drop(1007, "Free tier of the model has been exhausted.")
        assert person.ends() == 1
        assert "error: " in person.text
        assert "Free tier" in person.text


def test_lines_in_a_pipe_are_a_script(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    script = "/voice Ethan\nHello\n\n/audio my question.wav\n/save the answer.wav\n/text /slash\n/exit\nnever\n"
    (tmp_path / "my question.wav").write_bytes(QUESTION.read_bytes())
    done = run("chat", "-o", "kept.wav", emulator=emulator, stdin=script)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith(("You:", "Model:"))]
    assert said == [
        "Model: This is the emulator. You wrote: Hello",
        "You:   (emulator) 3.6 seconds of speech",
        "Model: This is the emulator. You spoke for 3.6 seconds; here it is again.",
        "Model: This is the emulator. You wrote: /slash",
    ]
    assert "\x1b" not in done.stdout + done.stderr
    for name in ("kept.wav", "kept-2.wav", "the answer.wav"):
        assert read_wav(tmp_path / name).pcm
    voices = [update.event["session"].get("voice") for update in emulator.received if update.type == "session.update"]
    assert voices[-1] == "Ethan"


@pytest.mark.parametrize(("line", "code"), [("/nope", 2), ("/audio gone.wav", 2), ("/save", 2)])
def test_a_script_stops_at_what_cannot_be_done(
    line: str,
    code: int,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    from dashscope_rt.cli.main import main

    script = tmp_path / "script"
    script.write_text(f"{line}\nHello\n")
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "c.yaml"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    with script.open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert main(["chat", "--url", emulator.url]) == code
    assert "error: " in capsys.readouterr().err
    assert "response.create" not in [record.type for record in emulator.received]


@pytest.mark.parametrize("raw", [False, pytest.param(True, marks=pytest.mark.full)])
def test_sound_in_a_pipe_is_a_conversation_the_service_divides(
    run: Run, emulator: Emulator, tmp_path: Path, raw: bool
) -> None:
    sound = read_wav(QUESTION).pcm[9600 : 9600 + 32000]  # a second: it is spoken in real time
    if not raw:
        write_wav(tmp_path / "question.wav", sound, 16_000)
        sound = (tmp_path / "question.wav").read_bytes()
    done = run("chat", "--json", emulator=emulator, stdin=sound)
    assert done.returncode == 0, done.stderr
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    for kind in ("session.created", "input_audio_buffer.speech_started", "response.audio.delta", "response.done"):
        assert kind in types
    assert "You:   (emulator)" in done.stderr
    assert "commit" not in " ".join(record.type for record in emulator.received)


@pytest.mark.full
def test_two_questions_in_a_file_both_get_their_answers(run: Run, emulator: Emulator) -> None:
    speech = read_wav(QUESTION).pcm
    done = run("chat", "--json", emulator=emulator, stdin=speech + silence(6000, 16000) + speech)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["response"]["status"] for event in events if event["type"] == "response.done"] == ["completed"] * 2


@pytest.mark.full
def test_silence_in_a_pipe_is_an_error_and_not_an_empty_success(run: Run, emulator: Emulator) -> None:
    done = run("chat", emulator=emulator, stdin=bytes(32000))
    assert done.returncode == 1
    assert "no speech" in done.stderr


@pytest.mark.full
def test_an_answer_that_fails_in_a_pipe_is_exit_code_1(run: Run) -> None:
    with Emulator([Answer(text="No", status="failed")], api_keys={KEY}) as emulator:
        done = run("chat", emulator=emulator, stdin="Hello\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("error: ")


def test_interrupted_in_a_pipe_is_130_and_quiet(tmp_path: Path) -> None:
    with Emulator([Answer(text="One two three", hold_after_ms=50)], api_keys={KEY}) as emulator:
        with subprocess.Popen(
            [sys.executable, "-m", "dashscope_rt", "ask", "Hello"], cwd=tmp_path, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
        ) as process:  # fmt: skip
            emulator.wait_for_sent("response.text.delta", timeout=2 * SOON)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=2 * SOON)
        assert process.returncode == 130
        assert errors == b""
        assert emulator.wait_closed().closed_by == "client"


@pytest.mark.parametrize(
    "command", [["ask", "Hello"], pytest.param(["chat", "--text", "--json"], marks=pytest.mark.full)]
)
def test_live_output_on_a_terminal_leaves_a_piped_stdout_alone(
    command: list[str], tmp_path: Path, emulator: Emulator
) -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dashscope_rt", *command], cwd=tmp_path, input=b"Hello\n", stdout=subprocess.PIPE,
            stderr=slave, timeout=60,
            env=environment(tmp_path, TERM="xterm-256color", DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
        )  # fmt: skip
        assert done.returncode == 0
        shown = os.read(master, 65536).decode()
    finally:
        os.close(master)
        os.close(slave)
    if "--json" in command:
        types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
        assert "response.done" in types
        assert "You wrote: Hello" in shown
    else:
        assert done.stdout == b"This is the emulator. You wrote: Hello\n"
        assert "\x1b[" in shown


def test_what_is_typed_during_an_answer_waits_for_the_prompt(tmp_path: Path) -> None:
    held = Answer(text="One two three four five six seven eight", hold_after_ms=800)
    with Emulator([held, "Second."], api_keys={KEY}) as emulator:
        where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
        with terminal(tmp_path, "chat", "--text", **where) as person:
            person.wait_for(r"› $")
            person.type("Hello\n")
            person.wait_for("Model: One")
            person.type("typed ahead\n")
            emulator.wait_for_sent("response.audio.delta", count=8, timeout=2 * SOON)
            emulator.release()
            shown = person.wait_for(r"(?s)tokens.*› .*Model: Second\..*› $")
            assert shown.count("typed ahead") == 1  # not in the picture of the answer, which it would tear
            assert re.search(r"(?s)answered after.*› typed ahead\n.*Model: Second", shown)
            person.type("\x04")
            assert person.ends() == 0


@pytest.mark.parametrize("connecting", [False, pytest.param(True, marks=pytest.mark.full)])
def test_sigterm_leaves_the_terminal_as_it_was(tmp_path: Path, connecting: bool) -> None:
    import termios

    held = Answer(text="One two three four", hold_after_ms=200)
    with Emulator([held], api_keys={KEY}, faults="stall" if connecting else []) as emulator:
        where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
        with terminal(tmp_path, "chat", "--text", "--record", "r.jsonl", **where) as person:
            if connecting:
                person.wait_for("connecting")
            else:
                person.wait_for(r"› $")
                person.type("Hello\n")
                person.wait_for("Model: One")
            assert not termios.tcgetattr(person.master)[3] & termios.ECHO
            person.process.send_signal(signal.SIGTERM)
            person.ends()
            assert person.process.returncode == 143
            assert termios.tcgetattr(person.master)[3] & termios.ECHO
        if not connecting:
            assert emulator.wait_closed().closed_by == "client"


@pytest.mark.parametrize("stage", ["connecting", "answering", pytest.param("prompt", marks=pytest.mark.full)])
def test_ctrl_c_at_any_moment_is_quiet(tmp_path: Path, stage: str) -> None:
    import termios

    held = Answer(text="One two three four", hold_after_ms=200)
    with Emulator([held], api_keys={KEY}, faults="stall" if stage == "connecting" else []) as emulator:
        where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
        with terminal(tmp_path, "chat", "--text", **where) as person:
            if stage == "connecting":
                person.wait_for("connecting")
            else:
                person.wait_for(r"› $")
            if stage == "answering":
                person.type("Hello\n")
                person.wait_for("Model: One")
                person.type("\x03")
                person.wait_for(r"(?s)stopped.*› $")
            person.type("\x03")
            assert person.ends() == 130
            assert "Traceback" not in person.text
            assert "error" not in person.text
            assert termios.tcgetattr(person.master)[3] & termios.ECHO


@pytest.mark.parametrize("lines", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(5, marks=pytest.mark.full)])
def test_events_that_nobody_reads_any_more_end_the_conversation(tmp_path: Path, emulator: Emulator, lines: int) -> None:
    command = f"{sys.executable} -m dashscope_rt chat --json 2>errors | head -{lines}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], input=b"Hello\nAnd now?\n" * 20, capture_output=True, cwd=tmp_path, timeout=60,
        env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
    )  # fmt: skip
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == lines
    errors = (tmp_path / "errors").read_text()
    assert "error" not in errors
    assert "Traceback" not in errors
    assert [record.type for record in emulator.received].count("response.create") < 40


@pytest.mark.full
def test_no_ctrl_c_at_a_prompt_is_dropped(tmp_path: Path, emulator: Emulator) -> None:
    """However busy the machine is: Python itself loses one that comes just before it waits for a key."""
    where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        for _ in range(8):
            with terminal(tmp_path, "chat", "--text", **where) as person:
                person.wait_for(r"› $")
                person.type("\x03")
                assert person.ends() == 130
    finally:
        for process in busy:
            process.kill()
            process.wait(SOON)
