"""How the program begins: quickly, on Windows too, with help that is true."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dashscope_rt.cli.main import main
from dashscope_rt.testing import Emulator
from dashscope_rt.testing.command import _EXAMPLES

from .conftest import KEY, QUESTION, ROOT, Run, environment

COMMANDS = [
    "ask", "chat", "transcribe", "models", "voices", "record", "replay", "inspect", "doctor", "emulator", "completion",
    "version", "config", "config add-context", "config use-context", "config get-context", "config list-contexts",
    "config delete-context", "config view", "config import-giztoy",
]  # fmt: skip


def loaded(folder: Path, *arguments: str) -> set[str]:
    code = (
        "import sys\n"
        "from dashscope_rt.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "sys.stderr.write('\\n'.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder, timeout=60,
        env=environment(folder), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "not_needed"),
    [
        (["--version"], {"click", "rich", "attrs", "yaml", "websocket"}),
        (["--help"], {"rich.console", "attrs", "yaml", "websocket", "numpy", "ssl", "platformdirs"}),
        (["ask", "--help"], {"yaml", "websocket", "cattrs", "numpy", "ssl", "platformdirs", "dashscope_rt.session"}),
        (["models"], {"yaml", "websocket", "numpy", "ssl", "dashscope_rt.session"}),
        (["completion", "bash"], {"yaml", "websocket", "numpy", "ssl", "attrs"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_nothing_is_loaded_that_is_not_needed(tmp_path: Path, arguments: list[str], not_needed: set[str]) -> None:
    assert loaded(tmp_path, *arguments) & not_needed == set()


def test_a_question_loads_no_audio_libraries(tmp_path: Path, emulator: Emulator) -> None:
    code = (
        "import sys\n"
        "from dashscope_rt.__main__ import main\n"
        "code = main(['ask', 'Hello'])\n"
        "print(*sorted(set(sys.modules) & {'numpy', 'sounddevice', 'soundfile', 'soxr', 'PIL', 'yaml', 'asyncio'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, stdin=subprocess.DEVNULL,
        env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
    )  # fmt: skip
    assert done.stdout.splitlines()[1:] == [""], done.stdout


def test_it_runs_without_what_only_posix_has(tmp_path: Path, emulator: Emulator) -> None:
    """As on Windows: these modules are not there, nor are these functions."""
    code = (
        "import os, signal, sys\n"
        "for name in ('fcntl', 'termios', 'tty', 'pty', 'pwd', 'grp', 'resource', 'readline'): sys.modules[name] = None\n"
        "for name in ('fchmod', 'fork', 'geteuid', 'mkfifo', 'setsid'): delattr(os, name)\n"
        "for name in ('SIGHUP', 'SIGQUIT', 'SIGALRM', 'SIGUSR1', 'pthread_kill', 'setitimer'): delattr(signal, name)\n"
        "import importlib, pkgutil, dashscope_rt.cli\n"
        "for module in pkgutil.iter_modules(dashscope_rt.cli.__path__):\n"
        "    importlib.import_module('dashscope_rt.cli.' + module.name)\n"
        "from dashscope_rt.__main__ import main\n"
        "sys.exit(main(['ask', 'Hello', '--record', 'r.jsonl']) or main(['chat', '-o', 'kept/']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, input="Hello\n/exit\n",
        env=environment(tmp_path, DASHSCOPE_REALTIME_URL=emulator.url, DASHSCOPE_API_KEY=KEY),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Model: This is the emulator." in done.stdout
    assert (tmp_path / "kept" / "answer-001.wav").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert main([*command.split(), flag]) == 0
        text = capsys.readouterr().out
        assert len(text.splitlines()) > 3
        assert max(len(line) for line in text.splitlines()) <= 100


def test_options_of_one_name_mean_the_same_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    shorts: dict[str, set[str]] = {}
    for command in COMMANDS:
        if command != "emulator":
            main([*command.split(), "--help"])
            for short, long in re.findall(r"^\s+(-\w), (--[\w-]+)", capsys.readouterr().out, re.MULTILINE):
                shorts.setdefault(short, set()).add(long)
    assert {short: len(longs) for short, longs in shorts.items() if len(longs) > 1} == {}


def examples() -> list[str]:
    """Every line of an example in the help, as it stands there."""
    from dashscope_rt.cli.main import group

    found = []
    for command in ["", *COMMANDS]:
        node = group
        for word in command.split():
            node = node.get_command(None, word)  # type: ignore[arg-type,assignment]
        text = f"{node.help or ''}\n{node.epilog or ''}"
        text += _EXAMPLES if command == "emulator" else ""
        found += [line.strip() for line in text.splitlines() if line.startswith("  ") and "dashscope-rt" in line]
    return sorted({re.sub(r"\s{4,}.*", "", line) for line in found})


def test_there_are_examples_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    found = "\n".join(examples())
    for command in COMMANDS:
        if command not in ("version", "config use-context", "config get-context", "config delete-context", "completion",
                           "config list-contexts", "config view"):  # fmt: skip
            assert re.search(rf"dashscope-rt {command}\b", found), command


# What an example needs that is not there: a microphone, a model that answers, another program's output.
_INSTEAD = {
    "arecord": f"cat {shlex.quote(str(QUESTION))}",
    "ffmpeg": f"cat {shlex.quote(str(QUESTION))}",
    "pass show dashscope": "echo sk-0123456789abcdef",
}


def _ends_by_itself(line: str) -> bool:
    return not ("--serve" in line or line.startswith("dashscope-rt emulator") or " completion " in line)


@pytest.mark.full
@pytest.mark.parametrize("line", list(filter(_ends_by_itself, examples())))
def test_examples_do_what_they_say(line: str, tmp_path: Path, emulator: Emulator) -> None:
    for name in ("question.wav", "talk.wav", "a.wav"):
        (tmp_path / name).write_bytes(QUESTION.read_bytes())
    (tmp_path / "photo.jpg").write_bytes((ROOT / "samples" / "data" / "picture.jpg").read_bytes())
    weather = {"type": "function", "name": "weather", "description": "The weather.", "parameters": {"type": "object"}}
    (tmp_path / "request.yaml").write_text(json.dumps({"text": "Hello", "tools": [weather]}))
    (tmp_path / "weather.py").write_text("print('sunny')")
    (tmp_path / "old").mkdir()
    giztoy = "current_context: a\ncontexts: {old: {api_key: sk-0123456789abcdef}}\n"
    for path in (tmp_path / "old" / "config.yaml", tmp_path / ".giztoy" / "dashscope" / "config.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(giztoy)
    where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
    own = f"{shlex.quote(sys.executable)} -m dashscope_rt"
    before = f"{own} config add-context work --key env:X >/dev/null 2>&1; " if "use-context" in line else ""
    if "call.jsonl" in line and " record " not in line:
        before = f"{own} ask -o x.wav Hello --record call.jsonl 2>/dev/null >&2; "
    if shutil.which("jq") is None:
        line = re.sub(r"\| jq.*", "| cat", line)
    for there, here in _INSTEAD.items():
        line = re.sub(rf"{there}[^|]*", f"{here} ", line)
    line = line.replace("ws://127.0.0.1:8765", emulator.url)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; dashscope-rt() {{ {own} \"$@\"; }}; {before}{line}"],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, env=environment(tmp_path, **where),
        input="sk-0123456789abcdef\n" if "add-context" in line else "Hello\n",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_never_lost(tmp_path: Path) -> None:
    """Not in a callback whose exceptions end there, and not when an import takes it for an error of its own."""
    code = (
        "import gc, os, signal, sys, threading, time, weakref\n"
        "from dashscope_rt.cli import main as program\n"
        "class Thing: ...\n"
        "def swallowed(_arguments):\n"
        "    thing = Thing()\n"
        "    end = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.SIGINT), time.sleep(0.2)))\n"
        "    del thing; gc.collect()\n"
        "    threading.Event().wait()\n"
        "def disguised(_arguments):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT); time.sleep(5)\n"
        "    except KeyboardInterrupt: raise ImportError('could not import') from None\n"
        "program._run = locals()[sys.argv[1]]\n"
        "sys.exit(program.main([]))"
    )
    for name in ("swallowed", "disguised"):
        done = subprocess.run(
            [sys.executable, "-c", code, name], capture_output=True, text=True, timeout=30, cwd=tmp_path,
            env=environment(tmp_path),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (130, ""), name


def test_a_warning_of_the_package_is_one_line(run: Run, emulator: Emulator) -> None:
    done = run("ask", "Hello?", "-m", "qwen3.5-omni-flash", emulator=emulator)
    assert done.returncode == 0, done.stderr
    assert "warning: 'qwen3.5-omni-flash' does not look like a model of the realtime API" in done.stderr
    assert "UserWarning" not in done.stderr
    assert "client.py" not in done.stderr
