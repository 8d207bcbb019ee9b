"""The same flows against DashScope itself: ``DASHSCOPE_API_KEY=… python -m pytest -m live``.

Every session is recorded into ``live-cassettes/`` (``DASHSCOPE_LIVE_CASSETTES`` names another folder) with everything
private removed: no key, no words, no voices, no identifiers. At the end they are packed into ``live-cassettes/live.zip``,
with a report of what passed, what did not, and what the service said that this package does not know: please attach that
one file to an issue.
"""

from __future__ import annotations

import os
import platform
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

import dashscope_rt as rt
from dashscope_rt.recording import Recorder

ROOT = Path(__file__).parent.parent.parent
MODEL = os.environ.get("DASHSCOPE_LIVE_MODEL", "qwen3.5-omni-flash-realtime")
_strange: Counter[str] = Counter()
_cassettes: list[Path] = []
_lock = threading.Lock()  # guards both: events come on reader threads


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and item.path.name != "test_rehearsal.py":
            item.add_marker(pytest.mark.live)
            item.add_marker(pytest.mark.timeout(180))
            if not os.environ.get("DASHSCOPE_API_KEY"):
                item.add_marker(pytest.mark.skip(reason="DASHSCOPE_API_KEY is not set"))


def _look(event: rt.AnyEvent) -> None:
    known = {field.name for field in attrs.fields(type(event))} | {"type"}
    with _lock:
        if isinstance(event, rt.events.MalformedEvent):
            _strange[f"{event.type or 'no type'}: {event.problem}"] += 1
        elif isinstance(event, rt.events.UnknownEvent):
            _strange[f"{event.type}: an event this version does not know"] += 1
        else:
            for name in event.raw.keys() - known:
                _strange[f"{event.type}: a field this version does not read: {name}"] += 1


@pytest.fixture
def cassette(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Gives sessions that are recorded: ``cassette(model=…, turn_detection=None)``."""
    folder = Path(os.environ.get("DASHSCOPE_LIVE_CASSETTES", ROOT / "live-cassettes"))
    folder.mkdir(exist_ok=True)
    client = rt.RealtimeClient(timeouts=rt.Timeouts(connect=20, turn=90))
    recorders: list[Recorder] = []

    def make(model: str = MODEL, **options: Any) -> rt.RealtimeSession:
        session = client.session(model, **options)
        session.on(rt.AnyEvent)(_look)
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{request.node.name}-{len(recorders) + 1}.jsonl")
        recorder = Recorder(folder / name, texts=False, audio=False, ids=False, overwrite=True)
        recorders.append(recorder.attach(session))
        _cassettes.append(folder / name)
        return session

    yield make
    for recorder in recorders:
        recorder.close()
    key = os.environ["DASHSCOPE_API_KEY"].strip()
    for recorder in recorders:
        assert key not in Path(recorder.path).read_text(encoding="utf-8")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _cassettes:
        return
    folder = _cassettes[0].parent
    strange = [f"{count:5} × {what}" for what, count in sorted(_strange.items())]
    terminalreporter.section("live")
    terminalreporter.line(f"{len(_cassettes)} cassettes in {folder}")
    for line in strange:
        terminalreporter.line(line)
    with zipfile.ZipFile(folder / "live.zip", "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("report.txt", "\n".join([*_about(), *_results(terminalreporter), *strange, ""]))
        for cassette in sorted(set(_cassettes)):
            if cassette.exists():
                bundle.write(cassette, cassette.name)
    terminalreporter.line(f"{folder / 'live.zip'} holds all of it, and nothing private: please attach it to an issue")


def _about() -> list[str]:
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return [
        f"dashscope_rt {rt.__version__}, Python {platform.python_version()} on {platform.system()}",
        f"{MODEL}, {when}",
    ]


def _results(terminalreporter: Any) -> list[str]:
    """One line for each test; of a failure only its kind, for its text may quote what was said."""
    rows = []
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            crash = getattr(getattr(report, "longrepr", None), "reprcrash", None)
            kind = str(getattr(crash, "message", "")).partition(":")[0].partition("\n")[0]
            rows.append(
                f"{outcome:<8}{report.nodeid.rpartition('::')[2]}" + (f" ({kind})" if kind.isidentifier() else "")
            )
    return rows
