"""A folder such as a reader has: a question, a picture, a film, and the service's emulator in the environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from dashscope_rt.audio import read_wav, write_wav

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "docs" / "pages"
SHIM = f"#!/bin/sh\nexec '{sys.executable}' -m dashscope_rt \"$@\"\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder for a block, with the files the pages speak of and the command on the path."""
    data = ROOT / "samples" / "data"
    question = read_wav(data / "question.wav").pcm[9600 : 9600 + 32000]  # a second: pages play it in real time
    for name in ("question.wav", "next.wav", "talk.wav"):
        write_wav(tmp_path / name, question, 16_000)
    shutil.copy(data / "picture.jpg", tmp_path / "picture.jpg")
    shutil.copy(data / "clip.gif", tmp_path / "clip.gif")
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    tools = tmp_path / ".bin"
    tools.mkdir()
    (tools / "dashscope-rt").write_text(SHIM)
    (tools / "dashscope-rt").chmod(0o755)
    for name in list(os.environ):
        if name.startswith("DASHSCOPE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    monkeypatch.setenv("DASHSCOPE_RT_CONFIG", str(tmp_path / ".config" / "contexts.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
