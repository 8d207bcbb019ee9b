"""The live tests themselves, against the emulator: so that they run before anybody with a key runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from dashscope_rt.recording import Recording
from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

from .conftest import ROOT

KEY = "sk-0123456789abcdef-REHEARSAL"
SAID = "The answer of the rehearsal is forty-two."


def _answer(heard: Heard) -> Answer:
    if heard.tools and not heard.function_outputs:
        return Answer(function_calls=[FunctionCall("lookup_weather", {"city": "Hangzhou"})])
    if "two hundred" in heard.text or ("great length" in heard.instructions and heard.turn == 1):
        return Answer(text=SAID * 20, hold_after_ms=500)  # until it is stopped
    return Answer(text=SAID)


def rehearse(folder: Path, emulator: Emulator, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DASHSCOPE_", "COV_"))}
    where = {
        "DASHSCOPE_API_KEY": KEY,
        "DASHSCOPE_REALTIME_URL": emulator.url,
        "DASHSCOPE_LIVE_CASSETTES": str(folder / "cassettes"),
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "live", "-p", "no:cacheprovider", "-q", "tests/live", *arguments],
        capture_output=True, text=True, cwd=ROOT, timeout=110, env={**kept, **where},
    )  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["-k", "function or wrong or remembers or text_only or manual"], id="some"),
        pytest.param([], id="all", marks=pytest.mark.full),
    ],
)
def test_the_live_tests_pass_and_their_cassettes_hold_nothing_private(tmp_path: Path, arguments: list[str]) -> None:
    with Emulator(_answer, api_keys={KEY}, pace=0.2) as emulator:
        done = rehearse(tmp_path, emulator, *arguments)
        emulator.check()
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout
    count = re.search(r"(\d+) cassettes in ", done.stdout)
    assert count is not None
    with zipfile.ZipFile(tmp_path / "cassettes" / "live.zip") as bundle:
        bundle.extractall(tmp_path / "sent")
    cassettes = sorted((tmp_path / "sent").glob("*.jsonl"))
    assert len(cassettes) == int(count.group(1)) > 3
    report = (tmp_path / "sent" / "report.txt").read_text(encoding="utf-8")
    assert re.search(r"^passed +test_a_wrong_key_is_told_at_once$", report, re.MULTILINE)
    for sent in (tmp_path / "sent").iterdir():
        text = sent.read_text(encoding="utf-8")
        for private in (KEY, "forty-two", "Hangzhou", "seconds of speech", "sess_emulator", "127.0.0.1", str(tmp_path)):
            assert private not in text, sent.name
    for cassette in cassettes:
        recording = Recording.read(cassette)
        assert recording.problems == ()
        assert next(recording.received()).type == "session.created"


def test_without_a_key_the_live_tests_say_so() -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DASHSCOPE_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "live", "-p", "no:cacheprovider", "-q", "tests/live"],
        capture_output=True, text=True, cwd=ROOT, timeout=60, env=kept,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "DASHSCOPE_API_KEY is not set" in done.stdout
    assert "passed" not in done.stdout
