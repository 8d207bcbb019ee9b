"""Functions the model calls: answered by programs, by a Python file, or by the person who types."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dashscope_rt.cli.main import main
from dashscope_rt.testing import Answer, Emulator, FunctionCall

from .conftest import KEY, Hand, Run, Talking

pty = pytest.importorskip("pty")

REQUEST = """
modalities: [text]
tools:
  - {type: function, name: weather, description: The weather of a city., parameters: {type: object}}
  - {type: function, name: clock, description: The time.}
"""
PROGRAM = """
import json, sys
given = json.load(sys.stdin)
sys.stderr.write("thinking\\n")
print("sunny in", given["city"])
"""
FILE = '''
import dataclasses

@dataclasses.dataclass
class Sky:
    city: str
    days: int

def weather(city: str, days: int = 1) -> Sky:
    """Tell the weather of a city.

    Args:
        days: How many days.
    """
    return Sky(city, days)

def _not_this_one(x: str) -> str:
    return x
'''
CALL = Answer(function_calls=[FunctionCall("weather", {"city": "Köln 你好"})])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "request.yaml").write_text(REQUEST)
    (tmp_path / "my program.py").write_text(PROGRAM)
    (tmp_path / "my tools.py").write_text(FILE)
    return tmp_path


def outputs(emulator: Emulator) -> list[str]:
    items = [record.event["item"] for record in emulator.received if record.type == "conversation.item.create"]
    return [item["output"] for item in items if item["type"] == "function_call_output"]


def test_a_program_answers_a_call(run: Run, folder: Path) -> None:
    with Emulator([CALL, "It is sunny."], api_keys={KEY}) as emulator:
        tool = f"weather='{sys.executable}' 'my program.py'"
        done = run("ask", "-f", "request.yaml", "--tool", tool, "How warm?", emulator=emulator)
        assert (done.returncode, done.stdout) == (0, "It is sunny.\n"), done.stderr
        assert outputs(emulator) == ["sunny in Köln 你好"]
        emulator.check()
    assert 'the model calls weather({"city": "Köln 你好"})' in done.stderr
    assert "→ sunny in Köln 你好" in done.stderr


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import sys; sys.exit('it rains into the server')", "ended with exit code 1: it rains into the server"),
        ("print('x' * 100_000)", "wrote 100,001 bytes"),
        ("import time; time.sleep(60)", "took longer than"),
    ],
)
def test_a_program_that_fails_is_told_to_the_model(
    folder: Path, ready: Emulator, monkeypatch: pytest.MonkeyPatch, program: str, told: str
) -> None:
    if "longer" in told:
        monkeypatch.setattr("dashscope_rt.cli._tools._PROGRAM_S", 0.2)
    (folder / "my program.py").write_text(program)
    with Emulator([CALL, "Well."], api_keys={KEY}) as emulator:
        tool = f"weather={sys.executable} 'my program.py'"
        assert main(["ask", "-f", "request.yaml", "--tool", tool, "How?", "--url", emulator.url]) == 0
        assert told in outputs(emulator)[0]
        assert outputs(emulator)[0].startswith("Error: weather failed: ")


def test_a_python_file_brings_its_functions(folder: Path, ready: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator([CALL, "It is sunny."], api_keys={KEY}) as emulator:
        command = ["ask", "-f", "request.yaml", "--tools", "my tools.py", "How?", "--json", "--url", emulator.url]
        assert main(command) == 0
        assert json.loads(outputs(emulator)[0]) == {"city": "Köln 你好", "days": 1}
        tools = emulator.wait_for("session.update").event["session"]["tools"]
    told = {tool.get("name") or tool["function"]["name"]: json.dumps(tool) for tool in tools}
    assert sorted(told) == ["clock", "weather"]  # the file's weather in the place of the declared one
    assert "How many days." in told["weather"]
    assert len(tools) == 2
    assert json.loads(capsys.readouterr().out)["text"] == "It is sunny."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-f", "request.yaml", "--tool", "wether=cat"], "did you mean 'weather'?"),
        (["--tool", "weather=cat"], "a request file (-f) declares functions"),
        (["-f", "request.yaml", "--tool", "weather"], "NAME=COMMAND"),
        (["-f", "request.yaml", "--tool", "weather="], "NAME=COMMAND"),
        (["-f", "request.yaml", "--tool", "weather='cat"], "No closing quotation"),
        (
            ["-f", "request.yaml", "--tool", "weather=no-such-program-here"],
            "there is no program 'no-such-program-here'",
        ),
        (["--tools", "request.yaml"], "must end in .py"),
        (["--tools", "broken.py"], "SyntaxError"),
        (["--tools", "unhinted.py"], "type hint"),
        (["--tools", "empty.py"], "no public function"),
    ],
)
def test_what_cannot_be_a_tool_is_said_before_anything_is_opened(
    folder: Path, ready: Emulator, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (folder / "broken.py").write_text("def x(:\n")
    (folder / "unhinted.py").write_text("def f(x): ...\n")
    (folder / "empty.py").write_text("import json\n_x = 1\n")
    assert main(["ask", "Hello", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert ready.connections == []


def test_nobody_answers_and_that_is_said(folder: Path, ready: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    with Emulator([CALL], api_keys={KEY}) as emulator:
        assert main(["ask", "-f", "request.yaml", "How?", "--url", emulator.url]) == 0
    assert "nobody answers weather; --tool NAME=COMMAND" in capsys.readouterr().err


def test_a_script_on_stdin_answers_at_its_place(run: Run, folder: Path) -> None:
    both = Answer(function_calls=[FunctionCall("weather", {"city": "Rom"}), FunctionCall("clock", {})])
    with Emulator([both, "Fine.", "Bye."], api_keys={KEY}) as emulator:
        script = "How is it?\n21 Grad\n/result 12 o'clock\n/result nothing\n"
        done = run("chat", "-f", "request.yaml", emulator=emulator, stdin=script)
        assert sorted(outputs(emulator)) == ["12 o'clock", "21 Grad"]
    assert done.returncode == 2
    assert "the model waits for no result" in done.stderr
    assert "Model: Fine." in done.stdout


def test_a_script_that_ends_gives_no_result(run: Run, folder: Path) -> None:
    with Emulator([CALL, "Then not."], api_keys={KEY}) as emulator:
        done = run("chat", "-f", "request.yaml", emulator=emulator, stdin="How is it?\n")
        assert outputs(emulator) == ["Error: the user gave no result."]
    assert done.returncode == 0
    assert "Model: Then not." in done.stdout


def test_the_person_at_the_prompt_answers(folder: Path) -> None:
    from .test_chat import terminal

    script = [CALL, "It is sunny.", CALL, "Well then."]
    with Emulator(script, api_keys={KEY}, pace=0) as emulator:
        where = {"DASHSCOPE_REALTIME_URL": emulator.url, "DASHSCOPE_API_KEY": KEY}
        with terminal(folder, "chat", "--text", "-f", "request.yaml", **where) as person:
            person.wait_for(r"› $")
            person.type("How warm?\n")
            shown = person.wait_for(r"(?s)weather\(\) = $")
            assert 'the model calls weather({"city": "Köln 你好"})' in shown
            person.type("21 °C\n")
            person.wait_for(r"(?s)→ 21 °C.*Model: It is sunny\..*› $")
            person.type("And now?\n")
            person.wait_for(r"(?s)weather\(\) = $")
            person.type("\x03")  # no result from me, and the conversation goes on
            person.wait_for(r"(?s)Model: Well then\..*› $")
            person.type("\x04")
            assert person.ends() == 0
        assert outputs(emulator) == ["21 °C", "Error: the user gave no result."]
        emulator.check()


def test_by_ear_a_command_answers(talking: Talking, tmp_path: Path) -> None:
    (tmp_path / "request.yaml").write_text(REQUEST)
    with Emulator([CALL, "It is sunny."], api_keys={KEY}) as emulator:

        def typing(hand: Hand) -> None:
            talking.wait_for("is the answer to weather")
            hand("/result 21 °C")
            talking.wait_for("Model: It is sunny")
            hand("/result again")
            talking.wait_for("waits for no result")
            hand("/exit")

        code, shown = talking(emulator, typing, "-f", str(tmp_path / "request.yaml"))
        assert code == 0
        assert outputs(emulator) == ["21 °C"]
    assert "/result TEXT is the answer to weather" in shown
    assert "the model waits for no result" in shown
