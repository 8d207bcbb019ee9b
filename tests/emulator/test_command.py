"""The emulator from the command line, and as a pytest fixture."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from .talk import KEY, MODEL, SOON, TESTS, Talk

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(TESTS.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_its_address_and_stops(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"text": "From the script."}]))
    arguments = ["--port", "0", "--pace", "0", "--key", "sk-test", "--script", str(script)]
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "dashscope_rt.testing.command", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("ws://127.0.0.1:")
        assert address.endswith("/api-ws/v1/realtime")
        talk = Talk(f"{address}?model={MODEL}", additional_headers=KEY)
        assert talk.next()["type"] == "session.created"
        talk.update(modalities=["text"])
        talk.write("Well?")
        assert talk.turn()[-1]["response"]["output"][0]["content"][0]["text"] == "From the script."
        process.send_signal(number)
        out, err = process.communicate(timeout=SOON)
        assert process.returncode == 0
        assert out == ""
        assert "no model is running" in err
        assert "sk-test" not in err
        talk.close()


def test_the_command_says_what_is_wrong() -> None:
    for arguments, status, words in (
        (["--script", "none.json"], 2, "cannot start: "),
        (["--pace", "-1"], 2, "pace must be"),
        (["--bad"], 2, "unrecognized arguments"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "dashscope_rt.testing.command", *arguments],
            capture_output=True, env=ENVIRONMENT, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == status
        assert done.stdout == ""
        assert words in done.stderr


def test_the_fixture_gives_a_running_emulator_and_fails_with_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        """
import pytest

def test_running(dashscope_emulator):
    assert dashscope_emulator.url.startswith("ws://")

@pytest.mark.dashscope_emulator(api_keys={"sk"}, pace=0.5)
def test_options(dashscope_emulator):
    assert dashscope_emulator.api_keys == {"sk"}
    assert dashscope_emulator.pace == 0.5

def test_failure(dashscope_emulator):
    dashscope_emulator.records.fail(ValueError("inside"))
"""
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "dashscope_rt.testing.fixtures", "."],
        capture_output=True, env=ENVIRONMENT, text=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert "3 passed, 1 error" in done.stdout, done.stdout
    assert "the emulator failed inside" in done.stdout


def test_the_fixtures_load_nothing_that_costs() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import dashscope_rt.testing.fixtures;"
        "print(*(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=ENVIRONMENT, text=True, timeout=30, check=True
    )
    loaded = done.stdout.split()
    assert not [name for name in loaded if name.startswith(("websockets", "dashscope_rt.testing.emulator"))]
