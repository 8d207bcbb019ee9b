"""Imports point down only. This is the picture of the house; a new room needs a row, and its line must be easy to write.

__main__, cli                the command line; public names only
web                          a browser on one side, a session on the other
testing                      the emulator: knows the models, and nothing of the client that it judges
recording                    a session in a file, and back into callbacks;  _recording: the file
client                       key, region, workspace; opens sessions
conversation, video          microphone, speaker and camera around a session
session                      what a user holds
_session                     the inside of a session: state, callbacks, queues, asking
turns, responses             what a session hands out
tools, _tools                functions the model may call: hints to schema, arguments in, results out
_network                     the socket and everything that touches it
codec, _codec                text <-> event, config -> wire
config, _config              what can be set
events, _events              every wire event
models, errors               facts, and every exception
_display                     how things show in a notebook and a terminal
audio, images                beside the tower
"""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dashscope_rt"

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "_speed": set(),
    "models": set(),
    "_version": set(),
    "audio": set(),
    "images": set(),
    "_events": {"_speed"},
    "events": {"_events"},
    "_config": {"errors", "models"},
    "config": {"_config", "errors", "models"},
    "_codec": {"_config", "_events", "_speed", "config", "errors", "models"},
    "codec": {"_codec", "_speed", "_events", "config", "errors", "events", "models"},
    "_network": {"_speed", "errors", "models"},
    "_display": {"audio"},
    "responses": {"_display", "audio", "errors", "events"},
    "_tools": set(),
    "tools": {"_tools", "config", "responses"},
    "_session": {
        "_display", "_network", "audio", "codec", "config", "errors", "events", "images", "models", "responses", "tools",
        "turns",
    },
    "turns": {"_display", "_session", "audio", "errors", "events", "responses"},
    "session": {"_display", "_network", "_session", "audio", "codec", "config", "errors", "events", "images", "models", "tools", "turns"},
    "client": {"_display", "_network", "_session", "_version", "config", "errors", "images", "models", "session", "tools", "turns"},
    "conversation": {"audio", "errors", "session", "turns"},
    "video": {"audio", "errors", "images", "session"},
    "_recording": set(),
    "recording": {
        "_recording", "_session", "_version", "codec", "errors", "events", "models", "responses", "session",
    },
    "testing": {"_recording", "models"},
    "web": {"audio", "client", "errors", "events", "responses", "session", "tools"},
    "cli": {"audio", "recording", "testing"},  # besides the names of the package itself
    "__init__": {
        "_session",
        "_version",
        "audio",
        "client",
        "config",
        "conversation",
        "errors",
        "events",
        "models",
        "responses",
        "session",
        "tools",
        "turns",
        "video",
    },
    "__main__": {"_version", "cli", "testing"},
}
# Two rooms on one floor: a Turn waits on a connection, and the session's inside feeds turns. One file each way.
SAME_FLOOR = {("_session", "turns"), ("turns", "_session")}
ASK_FOR_TYPES_ONLY = {("_session", "session")}  # under TYPE_CHECKING
THIRD_PARTY = {  # who may know which library
    "websocket": {"_network"},
    "cattrs": {"codec", "_tools"},
    "websockets": {"testing", "_speed", "web"},
    "pybase64": {"_speed"},
    "orjson": {"_speed"},
    "python_socks": {"_network"},
    "pytest": {"testing"},
    "click": {"cli"},
    "rich": {"cli"},
    "yaml": {"cli"},
    "platformdirs": {"cli"},
    "flask": {"web"},
    "django": {"web"},
    "channels": {"web"},
    "asgiref": {"web"},
    "asyncio": {"web"},  # where Django runs on an event loop; nothing of the SDK does
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[str, bool]]:
    """Every import of a file, inside functions included: (dotted name, only for type checking)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    package = ["dashscope_rt", *path.relative_to(PACKAGE).parts[:-1]]
    found = []
    for node in ast.walk(tree):
        typed = id(node) in for_types
        if isinstance(node, ast.Import):
            found += [(alias.name, typed) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "dashscope_rt" else [module]
            found += [(name, typed) for name in names]
    return found


def test_arrows_point_down() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        here = room(path)
        for name, typed in imports(path):
            if not name.startswith("dashscope_rt."):
                continue
            there = name.split(".")[1]
            allowed = MAY_IMPORT[here] | {here}
            if there not in allowed and not (typed and (here, there) in ASK_FOR_TYPES_ONLY):
                wrong.append(f"{path.relative_to(PACKAGE)} -> {there}")
    assert wrong == []


def test_only_two_rooms_of_one_floor_know_each_other() -> None:
    both = {(a, b) for a, below in MAY_IMPORT.items() for b in below if a in MAY_IMPORT.get(b, set())}
    assert both <= SAME_FLOOR


def test_every_library_has_its_room() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, _ in imports(path):
            owners = THIRD_PARTY.get(name.split(".")[0])
            if owners is not None and room(path) not in owners:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert wrong == []


def test_every_room_is_in_the_picture() -> None:
    assert {room(path) for path in PACKAGE.rglob("*.py")} == set(MAY_IMPORT)


def test_files_stay_small_enough_to_see_at_a_glance() -> None:
    long = {
        str(path.relative_to(PACKAGE)): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 500
    }
    assert long == {}
