"""Tables, recordings, the doctor, completion; and what works without the extra."""

from __future__ import annotations

import base64
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import read_wav
from dashscope_rt.cli.main import main
from dashscope_rt.recording import Recording
from dashscope_rt.testing import Answer, Emulator

from ..peer import SOON
from .conftest import KEY, QUESTION, ROOT, Run, environment


def test_the_models_as_a_table_and_as_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    done = run("models")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(rt.MODELS) + 1
    assert "\x1b" not in done.stdout
    assert main(["models", "--json", "qwen3.8-omni-flash-realtime"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert "tools" in row["abilities"]
    assert row["default_voice"] == "Tina"


def test_the_voices(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    assert "Cherry  (default)" in run("voices", "qwen3-omni-flash-realtime").stdout.splitlines()
    assert main(["voices", "--json"]) == 0
    assert "Tina" in json.loads(capsys.readouterr().out)["voices"]
    assert main(["voices", "gpt-9"]) == 2


def test_a_session_is_recorded_shown_and_replayed(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    recorded = run("record", "a call.jsonl", "ask", "--audio", QUESTION, "-o", "a.wav", emulator=emulator)
    assert recorded.returncode == 0, recorded.stderr
    assert KEY not in (tmp_path / "a call.jsonl").read_text()
    assert Recording.read(tmp_path / "a call.jsonl").entries[-1].way == "closed"
    shown = run("inspect", "a call.jsonl", "--audio", "sounds")
    assert shown.returncode == 0
    rows = shown.stdout.splitlines()
    assert any("→  input_audio_buffer.append × 37" in row and "3.60 s of sound" in row for row in rows)
    assert any("←  response.done" in row and "completed" in row for row in rows)
    assert read_wav(tmp_path / "sounds" / "question.wav").pcm == read_wav(QUESTION).pcm
    assert read_wav(tmp_path / "sounds" / "answer-001.wav").pcm == read_wav(tmp_path / "a.wav").pcm
    replayed = run("replay", "a call.jsonl", "--speed", "0")
    assert replayed.stdout.splitlines()[:2] == [
        "You:   (emulator) 3.6 seconds of speech",
        "Model: This is the emulator. You spoke for 3.6 seconds; here it is again.",
    ]
    again = run("record", "a call.jsonl", "ask", "Hello", emulator=emulator)
    assert again.returncode == 2
    assert "a call.jsonl" in again.stderr


def test_inspect_and_replay_as_json(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    path = str(tmp_path / "r.jsonl")
    assert main(["ask", "Hello", "--url", emulator.url, "--record", path]) == 0
    with open(path, "a") as file:
        file.write('{"torn')
    capsys.readouterr()
    assert main(["inspect", path, "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["received"]["response.done"] == 1
    assert "middle of a line" in shown.err
    assert main(["replay", path, "--speed", "0", "--json"]) == 0
    types = [json.loads(line)["type"] for line in capsys.readouterr().out.splitlines()]
    assert types[0] == "session.created"
    assert types[-1] == "response.done"
    (tmp_path / "no.jsonl").write_text("hello")
    assert main(["inspect", str(tmp_path / "no.jsonl")]) == 2


@pytest.mark.full
def test_a_recording_is_served_until_ctrl_c(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    assert run("ask", "Hello", "--record", "r.jsonl", emulator=emulator).returncode == 0
    command = [sys.executable, "-m", "dashscope_rt", "replay", "r.jsonl", "--serve"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        turn = rt.RealtimeClient("sk-any", url=url).ask(text="Hello", modalities=["text"], timeout=SOON)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=2 * SOON)
    assert turn.text == "This is the emulator. You wrote: Hello"
    assert process.returncode == 0


def test_the_doctor_finds_all_well_and_writes_a_report_without_secrets(
    run: Run, emulator: Emulator, tmp_path: Path
) -> None:
    done = run(
        "doctor", "--report", "my report.zip", emulator=emulator, DASHSCOPE_WORKSPACE="ws-private", https_proxy=""
    )
    assert done.returncode == 0, done.stdout
    states = {line[:8].strip() for line in done.stdout.splitlines()}
    assert "failed" not in states
    assert "session: session.created after" in done.stdout
    with zipfile.ZipFile(tmp_path / "my report.zip") as bundle:
        assert set(bundle.namelist()) == {"report.txt", "report.json", "log.txt"}
        contents = "".join(bundle.read(name).decode() for name in bundle.namelist())
    for secret in (KEY, "ws-private", str(tmp_path), "sess_emulator"):
        assert secret not in contents
    assert "session.update" in contents or "session.created" in contents


def test_the_doctor_names_what_is_wrong(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.delenv("DASHSCOPE_API_KEY", raising=False)

    def lines() -> dict[str, str]:
        return {row["name"]: row["state"] for row in map(json.loads, capsys.readouterr().out.splitlines())}

    assert main(["doctor", "--url", emulator.url, "--json"]) == 1
    found = lines()
    assert found["key"] == "failed"
    assert "session" not in found
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-wrong-wrong-wrong")
    assert main(["doctor", "--url", emulator.url, "--json"]) == 3
    assert lines()["session"] == "failed"
    assert main(["doctor", "--url", "ws://127.0.0.1:1", "--json"]) == 1
    assert lines()["endpoint connection"] == "failed"


def test_the_doctor_looks_at_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "none.yaml"))
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)
    with Emulator(tls=True) as emulator:
        assert main(["doctor", "--url", emulator.url]) == 1
        assert "failed  endpoint TLS" in capsys.readouterr().out
        assert main(["doctor", "--url", emulator.url, "--ca-file", str(emulator.ca_file)]) == 0
        assert "ok      endpoint TLS: TLSv1.3" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_DASHSCOPE_RT_COMPLETE" in capsys.readouterr().out


@pytest.mark.full
def test_completion_completes(run: Run, tmp_path: Path) -> None:
    assert run("config", "add-context", "büro", "--key", "env:X").returncode == 0
    for words, expected in (
        ("dashscope-rt tra", "transcribe"),
        ("dashscope-rt ask -c b", "büro"),
        ("dashscope-rt ask -m qwen3.8-o", "qwen3.8-omni-flash-realtime"),
    ):
        number = str(len(words.split()) - 1)
        done = run(_DASHSCOPE_RT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=number)
        assert f"plain,{expected}" in done.stdout.splitlines()


def test_help_has_examples_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("ask", "chat", "transcribe", "config", "models", "voices", "record", "replay", "inspect", "doctor"):
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert "Examples:" in text, command
        assert f"dashscope-rt {command}" in text
    assert main(["--help"]) == 0
    assert "Exit codes" in capsys.readouterr().out


def without_the_extra(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys\n"
        "for name in ('click', 'rich', 'yaml', 'platformdirs'): sys.modules[name] = None\n"
        "from dashscope_rt.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)


def test_without_the_extra_everything_says_which_one_is_missing() -> None:
    done = without_the_extra("ask", "Hello")
    assert done.returncode == 2
    assert 'pip install "dashscope_rt[cli]"' in done.stderr
    assert "Traceback" not in done.stderr
    assert without_the_extra("version").stdout.strip() == rt.__version__
    assert "--pace" in without_the_extra("emulator", "--help").stdout
    assert "emulator" in without_the_extra("--help").stdout


@pytest.mark.full
def test_the_emulator_and_the_version_are_commands_like_others(run: Run) -> None:
    assert run("version").stdout == f"{rt.__version__}\n"
    assert run("--version").stdout == f"{rt.__version__}\n"
    assert run("emulator", "--pace", "x").returncode == 2
    assert "emulator" in run("--help").stdout


def test_a_reader_that_goes_away_ends_it_quietly(tmp_path: Path) -> None:
    command = f"{sys.executable} -m dashscope_rt models --json | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment(tmp_path), cwd=ROOT)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


@pytest.mark.full
def test_a_terminal_of_another_encoding_ends_nothing(run: Run, emulator: Emulator) -> None:
    done = run("ask", "你好", emulator=emulator, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "This is the emulator. You wrote: \\u4f60\\u597d\n"


def test_the_console_script_is_declared() -> None:
    import configparser

    setup = configparser.ConfigParser()
    setup.read(os.path.join(ROOT, "setup.cfg"), encoding="utf-8")
    assert "dashscope-rt = dashscope_rt.__main__:main" in setup["options.entry_points"]["console_scripts"]
    for library in ("click", "rich", "PyYAML", "platformdirs"):
        assert library in setup["options.extras_require"]["cli"]


def checks(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("refuse=401", 3, "401"),
        ("refuse=403", 1, "403"),
        ("close=1011,boom", 1, "boom"),
        ("free-tier", 1, ""),
        pytest.param("close=1007,later@input_audio_buffer.clear", 1, "later", marks=pytest.mark.full),
        pytest.param("never-created", 1, "session.created did not come", marks=pytest.mark.full),
    ],
)
def test_the_doctor_sees_faults(
    ready: Emulator, capsys: pytest.CaptureFixture[str], fault: str, code: int, said: str
) -> None:
    with Emulator(api_keys={KEY}, faults=fault) as emulator:
        assert main(["doctor", "--url", emulator.url, "--json"]) == code
    row = checks(capsys)["session"]
    assert row["state"] == "failed"
    assert said in row["detail"]
    assert row["advice"]


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Lets those through who say the password, and answers as the service would, with a clock of its own."""

    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        allowed = self.headers.get("Proxy-Authorization") == "Basic " + base64.b64encode(b"me:s3cret@x").decode()
        self.send_response_only(200 if allowed else 407)
        self.end_headers()
        self.close_connection = not allowed

    def do_GET(self) -> None:
        self.send_response_only(404)
        self.send_header("Date", formatdate(time.time() - 600, usegmt=True))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def proxy() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(SOON)


def test_the_doctor_looks_through_proxies_and_at_the_clock(
    ready: Emulator, proxy: int, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["doctor", "--url", "ws://service.example/realtime", "--json", "--proxy"]
    assert main([*command, f"http://me:s3cret%40x@127.0.0.1:{proxy}"]) == 1
    shown = capsys.readouterr().out
    assert "s3cret" not in shown
    found = {row["name"]: row for row in map(json.loads, shown.splitlines())}
    assert found["endpoint connection"]["state"] == "ok"
    assert found["endpoint clock"]["state"] == "warning"
    assert re.search(r"clock is (599|60\d) s off", found["endpoint clock"]["detail"])
    assert main([*command, f"http://me:wrong@127.0.0.1:{proxy}"]) == 1
    refused = checks(capsys)["endpoint connection"]
    assert refused["state"] == "failed"
    assert "407" in refused["detail"]
    assert "--proxy" in refused["advice"]
    assert main([*command, "http://127.0.0.1:1"]) == 1
    assert "--proxy" in checks(capsys)["endpoint connection"]["advice"]


def test_a_report_names_no_host_of_ones_own(
    ready: Emulator, proxy: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://gateway.corp.example:1/")
    monkeypatch.setenv("no_proxy", "intranet.corp.example")
    monkeypatch.setenv("HOME", str(tmp_path))
    url = ["--url", "ws://realtime.corp.example/realtime", "--workspace", "llm-private"]
    assert main(["doctor", *url, "--proxy", "http://other.corp.example:1", "--report", "r.zip"]) == 1
    with zipfile.ZipFile("r.zip") as bundle:
        contents = "".join(bundle.read(name).decode() for name in bundle.namelist())
    assert "[host]" in contents
    for secret in ("corp.example", "llm-private", KEY, KEY[-4:], str(tmp_path)):
        assert secret not in contents


def test_an_answer_that_was_cut_off_is_replayed_as_far_as_it_came(
    ready: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", "Hello", "--record", "r.jsonl"]) == 0
    lines = (tmp_path / "r.jsonl").read_text().splitlines(keepends=True)
    cut = next(at for at, line in enumerate(lines) if "response.text.done" in line)
    (tmp_path / "r.jsonl").write_text("".join(lines[:cut]))
    capsys.readouterr()
    assert main(["replay", "r.jsonl", "--speed", "0"]) == 0
    assert "Model: This is the emulator. You wrote: Hello" in capsys.readouterr().out


@pytest.mark.full
def test_a_killed_conversation_can_be_replayed(tmp_path: Path, run: Run) -> None:
    held = Answer(text="One two three four", hold_after_ms=300)
    with Emulator([held], api_keys={KEY}) as emulator, subprocess.Popen(
        [sys.executable, "-m", "dashscope_rt", "record", "my call.jsonl", "chat"], cwd=tmp_path,
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(b"Hello\n")
        process.stdin.flush()
        path, deadline = tmp_path / "my call.jsonl", time.monotonic() + 2 * SOON
        while not path.exists() or path.read_bytes().count(b"response.audio.delta") < 2:
            assert time.monotonic() < deadline
        process.kill()
    assert "Model: One" in run("replay", "my call.jsonl", "--speed", "0").stdout
    assert "response.audio.delta" in run("inspect", "my call.jsonl").stdout


def test_an_unknown_model_is_warned_about(ready: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    for model, said in (
        ("qwen3.5-onmi-flash-realtime", "did you mean 'qwen3.5-omni-flash-realtime'?"),
        ("gpt-4", "dashscope-rt models lists them"),
    ):
        assert main(["ask", "Hello", "-m", model]) == 1
        warning = capsys.readouterr().err.splitlines()[0]
        assert warning == f"warning: {model} is no model this version knows; {said}"


def test_a_certificate_of_ones_own_says_how(ready: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator(tls=True) as emulator:
        assert main(["ask", "Hello", "--url", emulator.url]) == 1
    assert "hint: --ca-file FILE" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.full
def test_the_shells_take_their_completion(shell: str, tmp_path: Path) -> None:
    """Where a shell is installed its own check of the script passes."""
    program = shutil.which(shell)
    if program is None:
        return  # the script was looked at by another test
    script = subprocess.run(
        [sys.executable, "-m", "dashscope_rt", "completion", shell],
        capture_output=True, env=environment(tmp_path), cwd=ROOT,
    ).stdout  # fmt: skip
    (tmp_path / "script").write_bytes(script)
    checked = subprocess.run([program, "-n", str(tmp_path / "script")], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_recording_leaves_out_what_it_is_told_to(ready: Emulator, tmp_path: Path) -> None:
    secret = "the code is 4711"
    assert main(["record", "--without", "texts", "--without", "ids", "r.jsonl", "ask", secret, "-o", "a.wav"]) == 0
    assert main(["ask", secret, "--record", "s.jsonl", "--record-without", "audio", "-o", "b.wav"]) == 0
    without_texts, without_audio = (Path(name).read_text() for name in ("r.jsonl", "s.jsonl"))
    assert "4711" not in without_texts
    assert "sess_emulator" not in without_texts
    assert '"data":' in without_texts
    assert "4711" in without_audio
    assert '"data":' not in without_audio
    assert main(["record", "--without", "names", "t.jsonl", "ask", "Hello"]) == 2
