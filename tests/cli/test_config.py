"""Contexts: who may read them, how they are written, that no key is ever shown."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashscope_rt.cli import _contexts
from dashscope_rt.cli._contexts import Context, Contexts, load, locked, mask, save
from dashscope_rt.cli.main import main
from dashscope_rt.testing import Emulator

from .conftest import KEY, Run


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("DASHSCOPE_"):
            monkeypatch.delenv(name)
    path = tmp_path / "settings here" / "config.yaml"
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(path))
    return path


def test_a_context_from_stdin_to_an_answer_as_a_program(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "dashscope_rt"
    added = run(
        "config", "add-context", "prüfung", "--key", "-", "--url", emulator.url, "--voice", "Ethan", stdin=KEY + "\n"
    )
    assert added.returncode == 0, added.stderr
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "config.yaml").stat().st_mode) == 0o600
    listed = run("config", "list-contexts")
    assert "*  prüfung  sk-…-END" in listed.stdout
    asked = run("ask", "Hello")
    assert asked.returncode == 0, asked.stderr
    assert emulator.wait_for("session.update").event["session"]["voice"] == "Ethan"
    view = json.loads(run("config", "view", "--json").stdout)
    assert view["url"] == {"value": emulator.url, "from": "context prüfung"}
    assert view["key"]["value"] == "sk-…-END"


def test_the_commands_do_what_they_say(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "get-context"]) == 1
    assert main(["config", "add-context", "one", "--key", "env:ONE_KEY", "--region", "ap-southeast-1"]) == 0
    assert main(["config", "add-context", "two", "--key", "env:TWO_KEY", "--workspace", "ws-1"]) == 0
    assert main(["config", "add-context", "two", "--key", "env:TWO_KEY"]) == 2
    capsys.readouterr()
    assert main(["config", "get-context"]) == 0
    assert capsys.readouterr().out == "one\n"
    assert main(["config", "use-context", "tow"]) == 2
    assert "did you mean 'two'?" in capsys.readouterr().err
    assert main(["config", "use-context", "two"]) == 0
    capsys.readouterr()
    assert main(["config", "list-contexts", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        {"name": "one", "current": False, "key": "env:ONE_KEY", "region": "ap-southeast-1"},
        {"name": "two", "current": True, "key": "env:TWO_KEY", "workspace": "ws-1"},
    ]
    monkeypatch.setenv("DASHSCOPE_REGION", "cn-beijing")
    monkeypatch.setenv("ONE_KEY", KEY)
    monkeypatch.setenv("TWO_KEY", KEY)
    assert main(["config", "view", "-c", "one", "--json"]) == 0  # a context that is named wins over the environment
    assert json.loads(capsys.readouterr().out)["region"] == {"value": "ap-southeast-1", "from": "context one"}
    assert main(["config", "view", "--json"]) == 0  # the environment wins over the one in use
    assert json.loads(capsys.readouterr().out)["region"] == {"value": "cn-beijing", "from": "environment"}
    assert main(["config", "delete-context", "two"]) == 0
    assert load(path).current == ""
    assert set(load(path).by_name) == {"one"}


@pytest.mark.parametrize("arguments", [["--url", "http://u:p@x"], ["--workspace", "a/b"], ["--region", "mars"]])
def test_what_cannot_be_used_is_not_saved(path: Path, arguments: list[str]) -> None:
    assert main(["config", "add-context", "x", "--key", "env:X", *arguments]) == 2
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "x" * 65])
def test_names_that_are_none(path: Path, name: str) -> None:
    assert main(["config", "add-context", "--key", "env:X", "--", name]) == 2
    assert not path.exists()


@pytest.mark.parametrize(
    ("key", "shown"), [("", ""), ("env:NAME", "env:NAME"), ("short", "…"), ("密" * 20, "…密密密密"), (KEY, "sk-…-END")]
)
def test_masks(key: str, shown: str) -> None:
    assert mask(key) == shown


def test_a_write_that_fails_leaves_the_old_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(path):
        save(path, Contexts(current="a", by_name={"a": Context(key=KEY)}))
    before = path.read_bytes()

    def breaks(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", breaks)
    assert main(["config", "delete-context", "a"]) == 1
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["config.yaml", "config.yaml.lock"]


def test_the_temporary_file_is_never_readable_by_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    really = os.fsync

    def look(handle: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        really(handle)

    monkeypatch.setattr(os, "fsync", look)
    old = os.umask(0)
    try:
        assert main(["config", "add-context", "a", "--key", "env:A"]) == 0
    finally:
        os.umask(old)
    assert modes == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def _add(path: Path, number: int) -> None:
    os.environ["DASHSCOPE_RT_CONFIG"] = str(path)
    os._exit(main(["config", "add-context", f"c{number}", "--key", "env:A"]))


@pytest.mark.full
def test_programs_at_the_same_time_lose_nothing(path: Path) -> None:
    processes = [multiprocessing.get_context("spawn").Process(target=_add, args=(path, number)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert set(load(path).by_name) == {"c0", "c1", "c2", "c3"}


def test_changes_at_the_same_time_lose_nothing(path: Path) -> None:
    def add(number: int) -> None:
        for each in range(5):
            with locked(path):
                contexts = load(path)
                save(path, Contexts(by_name={**contexts.by_name, f"c{number}-{each}": Context(key="env:A")}))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(load(path).by_name) == 20


def test_a_lock_that_is_held_is_an_error_and_no_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_contexts, "_LOCK_WAIT", 0.05)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locked(path):
            held.set()
            release.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)
    assert main(["config", "add-context", "a", "--key", "env:A"]) == 1
    release.set()
    thread.join(5)
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"contexts: {{a: {{key: {KEY}, reigon: x}}}}", "did you mean 'region'?"),
        (f"contexts: [{KEY}", "is not YAML"),
        (f"contexts: {{a: {{api_key: {KEY}}}}}", "import-giztoy"),
        ("version: 2", "update"),
    ],
)
def test_a_broken_file_is_explained_without_its_key(
    path: Path, content: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    assert main(["config", "list-contexts"]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert KEY not in shown.err + shown.out


def test_a_file_that_others_can_read_is_warned_about(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.parent.mkdir()
    path.write_text("contexts: {}")
    path.chmod(0o644)
    assert main(["config", "list-contexts"]) == 0
    assert "chmod 600" in capsys.readouterr().err


GIZTOY = {
    "current_context": "intl",
    "contexts": {
        "cn": {
            "name": "cn",
            "api_key": KEY,
            "base_url": "wss://dashscope.aliyuncs.com/api-ws/v1/realtime",
            "timeout": 30,
        },
        "intl": {
            "name": "intl",
            "api_key": KEY,
            "base_url": "wss://proxy.example/x",
            "default_voice": "Cherry",
            "extra": {"workspace": "ws-1"},
        },
    },
}


def test_the_contexts_of_giztoy_are_taken_over(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "giztoy.yaml"
    source.write_text(yaml.safe_dump(GIZTOY))
    assert main(["config", "import-giztoy", str(source)]) == 0
    contexts = load(path)
    assert contexts.current == "intl"
    assert contexts.by_name["cn"] == Context(key=KEY, region="cn-beijing")
    assert contexts.by_name["intl"] == Context(key=KEY, url="wss://proxy.example/x", workspace="ws-1", voice="Cherry")
    assert main(["config", "import-giztoy", str(source)]) == 2
    assert main(["config", "import-giztoy", str(source), "--force"]) == 0
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err


def test_a_context_never_shows_its_key_in_a_repr() -> None:
    assert KEY not in repr(Context(key=KEY))
    assert KEY not in repr(Contexts(by_name={"a": Context(key=KEY)}))


def test_a_variable_that_is_not_set_is_shown_and_not_an_error(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "add-context", "a", "--key", "env:NOT_SET_HERE"]) == 0
    capsys.readouterr()
    assert main(["config", "view"]) == 0
    assert "NOT_SET_HERE, which is not set  (context a)" in capsys.readouterr().out
    assert main(["ask", "Hello"]) == 2
    assert "NOT_SET_HERE" in capsys.readouterr().err


def test_no_key_gets_into_any_output(path: Path, tmp_path: Path, emulator: Emulator, run: Run) -> None:
    """`run` looks for the key in stdout and stderr of every command."""
    more = {"DASHSCOPE_RT_CONFIG": str(path)}
    run("config", "add-context", "x", "--key", "-", "--url", emulator.url, stdin=KEY, **more)
    secret = {"stdin": b"", **more}
    for command in (
        ["config", "list-contexts"], ["config", "list-contexts", "--json"], ["config", "view"],
        ["config", "view", "--json"], ["doctor", "--debug", "--report", "r.zip"], ["ask", "Hello", "--debug"],
        ["ask", "Hello", "--debug", "--voice", "Nobody"], ["ask", "Hello", "--debug", "--url", "ws://127.0.0.1:1"],
        ["chat", "--json", "--debug", "--record", "r.jsonl"], ["config", "add-context", "x", "--key", KEY, "--debug"],
        ["ask", "--key", KEY, "Hello", "--debug"],
    ):  # fmt: skip
        run(*command, **secret)
    assert KEY not in (tmp_path / "r.jsonl").read_text()
    with zipfile.ZipFile(tmp_path / "r.zip") as bundle:
        assert KEY not in "".join(bundle.read(name).decode() for name in bundle.namelist())


def test_precedence_of_request_values(ready: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults < context < file < flags."""
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / "c.yaml"))
    monkeypatch.setenv("K", KEY)
    context = ["--key", "env:K", "--model", "qwen3-omni-flash-realtime", "--voice", "Ethan"]
    assert main(["config", "add-context", "x", *context]) == 0
    (tmp_path / "r.yaml").write_text("voice: Chelsie\ninstructions: From the file.\n")

    def asked(*arguments: str) -> tuple[str, str, str | None]:
        before = len(ready.connections)
        assert main(["ask", "Hello", *arguments]) == 0
        number = before + 1
        session = ready.wait_for("session.update", connection=number).event["session"]
        return ready.connections[before].model, session.get("voice"), session.get("instructions")

    assert asked() == ("qwen3-omni-flash-realtime", "Ethan", None)
    assert asked("-f", "r.yaml") == ("qwen3-omni-flash-realtime", "Chelsie", "From the file.")
    flags = ["--voice", "Cherry", "--instructions", "From a flag.", "-m", "qwen3-omni-flash-realtime-latest"]
    assert asked("-f", "r.yaml", *flags) == ("qwen3-omni-flash-realtime-latest", "Cherry", "From a flag.")
