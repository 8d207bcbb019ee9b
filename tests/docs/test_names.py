"""Names in running text and in tables exist: methods, fields, callbacks, classes, messages of errors."""

from __future__ import annotations

import configparser
import functools
import re
from pathlib import Path

import attrs
import pytest

import dashscope_rt as rt
from dashscope_rt import audio, config, errors, events, recording, testing
from dashscope_rt._session.callbacks import FRIENDLY
from dashscope_rt.testing._error_rows import ERRORS

from .conftest import PAGES, ROOT

FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`\n]+)`")
OBJECTS = {
    "session": rt.RealtimeSession,
    "client": rt.RealtimeClient,
    "turn": rt.Turn,
    "turn.timing": rt.Timing,
    "response": rt.Response,
    "transcript": rt.InputTranscript,
    "call": rt.FunctionCall,
    "emulator": testing.Emulator,
    "talk": rt.Conversation,
    "lost": rt.Lost,
    "stats": rt.Stats,
    "session.stats": rt.Stats,
    "error": rt.APIError,
    "failure": rt.ToolFailure,
}
WIRE = {*events.SERVER_EVENTS, *events.CLIENT_EVENTS}
# In the second column of the tables about other SDKs stands ours, in the first theirs.
THEIRS = re.compile(r"^\| *((?:[^|\\]|\\.)*)\|", re.MULTILINE)


def _spans(path: Path) -> list[str]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    if path.parent.name == "migration":
        text = THEIRS.sub("|", text)
    return SPAN.findall(text)


PAGES_ = [pytest.param(path, id=str(path.relative_to(PAGES))) for path in sorted(PAGES.rglob("*.md"))]


def _has(owner: type, name: str) -> bool:
    fields = {field.name for field in attrs.fields(owner)} if attrs.has(owner) else set()
    said = owner.__doc__ or ""  # plain classes list their attributes there
    return (
        hasattr(owner, name)
        or name in fields
        or re.search(rf"^ +(?:\w+, )*{name}(?:, \w+)*:", said, re.MULTILINE) is not None
    )


@pytest.mark.parametrize("path", PAGES_)
def test_methods_and_fields_named_in_the_text_exist(path: Path) -> None:
    for span in _spans(path):
        match = re.match(r"((?:\w+\.)?\w+)\.(\w+)\b", span)
        if match and match[1] in OBJECTS and span not in WIRE:
            assert _has(OBJECTS[match[1]], match[2]), f"{path}: {span}"
        match = re.match(r"(?:rt\.)?([A-Z]\w+)\.(\w+)\b(?!\.)", span)
        owner = _named(match[1]) if match else None
        if match and isinstance(owner, type):
            assert _has(owner, match[2]), f"{path}: {span}"


@pytest.mark.parametrize("path", PAGES_)
def test_callbacks_and_classes_named_in_the_text_exist(path: Path) -> None:
    theirs = {"on_event"} if path.parent.name == "migration" else set()
    for span in _spans(path):
        for name in re.findall(r"\bon_\w+", span):
            assert name in FRIENDLY or name in theirs, f"{path}: {span}"
        match = re.match(r"rt\.(\w+)", span)
        if match:
            assert hasattr(rt, match[1]), f"{path}: {span}"
        match = re.match(r"events\.([A-Z]\w+)", span)
        if match:
            assert hasattr(events, match[1]), f"{path}: {span}"


@pytest.mark.parametrize("path", PAGES_)
def test_arguments_of_classes_named_in_the_text_exist(path: Path) -> None:
    for span in _spans(path):
        for name, arguments in re.findall(r"\b([A-Z]\w+)\(([^()]*)\)", span):
            owner = _named(name)
            if isinstance(owner, type) and attrs.has(owner):
                fields = {field.name for field in attrs.fields(owner)}
                for argument in re.findall(r"(\w+)=", arguments):
                    assert argument in fields, f"{path}: {span}"


def _named(name: str) -> object:
    for module in (rt, config, errors, audio, recording, testing):
        if name in getattr(module, "__all__", ()):
            return getattr(module, name)
    return None


@functools.cache
def _said() -> str:
    """Every text of the package, with the joints of broken string literals mended."""
    files = (ROOT / "dashscope_rt").rglob("*.py")
    source = "\n".join(path.read_text(encoding="utf-8") for path in files)
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    return source + "\n".join(f"{row.message} {row.code} {row.close}" for row in ERRORS.values())


def test_messages_that_the_page_explains_are_really_said() -> None:
    text = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
    rows = [row for row in re.findall(r"^\| (.*?) \| ", text, re.MULTILINE) if row not in ("message", "---")]
    assert len(rows) > 40
    for row in rows:
        for span in SPAN.findall(row):
            for part in filter(None, (part.strip(" :") for part in span.split("…"))):
                if len(part) > 5:
                    assert part in _said(), f"nothing says {part!r}"


def test_what_the_browser_page_shows_is_in_the_module() -> None:
    module = (ROOT / "dashscope_rt" / "web" / "static" / "dashscope-rt.js").read_text(encoding="utf-8")
    page = (PAGES / "how-to" / "browser.md").read_text(encoding="utf-8")
    methods = set(re.findall(r"\bvoice\.(\w+)\(", page)) - {"addEventListener"}
    assert len(methods) >= 8
    for name in methods:
        assert re.search(rf"^  (?:async )?{name}\(", module, re.MULTILINE), name
    for name in re.findall(r"\bvoice\.(\w+)`", page):
        assert f"get {name}(" in module, name
    events_ = re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \| (.*)$", page.partition("## Events")[2], re.MULTILINE)
    assert len(events_) >= 9
    about = module.partition("export")[0]
    for first, second, detail in events_:
        for name in filter(None, (first, second, *re.findall(r"`([a-z_]\w*)`", detail))):
            assert re.search(rf"\b{name}\b", about), name
    for name in re.findall(r'addEventListener\("(\w+)"', page):
        assert re.search(rf"\b{name}\b", about), name


def test_the_front_page_names_every_extra() -> None:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    table = (PAGES / "index.md").read_text(encoding="utf-8").partition("## Extras")[2].partition("## ")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    for_developers = {"tests", "lint", "docs"}
    assert named == set(setup["options.extras_require"]) - for_developers
