"""The reference pages that are made from the package itself, so that they cannot say anything else than the code."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from reading import attributes, markdown, properties, summary, table, type_of

from dashscope_rt import config, errors, events, models
from dashscope_rt import tools as rt_tools
from dashscope_rt._session import callbacks
from dashscope_rt._session import recovery as rt_recovery
from dashscope_rt._session import stats as rt_stats
from dashscope_rt.testing._variants import Variants
from dashscope_rt.testing.faults import listing

NONE = "\N{EN DASH}"
VECTORS = Path(__file__).parent.parent / "tests" / "vectors"
FAMILIES = {
    "omni": "Omni",
    "livetranslate": "LiveTranslate",
    "livetranslate38": "LiveTranslate 3.8",
    "asr": "ASR",
    "tts": "TTS",
    "qwen-audio": "Qwen-Audio",
}
_GROUPS = {
    "session": "Session",
    "error": "Session",
    "input_audio_buffer": "Input",
    "input_image_buffer": "Input",
    "input_text_buffer": "Input",
    "conversation": "Conversation",
    "voiceprint": "Conversation",
    "response": "Response",
}

ROOT = Path(__file__).parent.parent
PLOT = ROOT / "tests" / "benchmarks" / "results.svg"
PLOT_PAGE = "assets/benchmarks.svg"  # where it is in the site


def _group(kind: str) -> str:
    return next((name for start, name in _GROUPS.items() if kind.startswith(start)), "Other")


# Events


def _families(kind: str, way: str) -> str:
    found = [name for folder, name in FAMILIES.items() if list((VECTORS / folder / way).glob(f"{kind}.[0-9]*.json"))]
    if not found:
        kind_of = (events.SERVER_EVENTS if way == "server" else events.CLIENT_EVENTS)[kind]
        found = [name for name in FAMILIES.values() if name in summary(kind_of)]
    return ", ".join(found) or "not documented"


def _example(kind: str, way: str) -> str:
    files = [path for folder in FAMILIES for path in sorted((VECTORS / folder / way).glob(f"{kind}.[0-9]*.json"))]
    if not files:
        return ""
    value = _shortened(json.loads(files[0].read_text(encoding="utf-8")))
    text = json.dumps(value, ensure_ascii=False, indent=2).replace("\n", "\n    ")
    return f'\n??? example "On the wire"\n    ```json\n    {text}\n    ```\n'


def _shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shortened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    return f"{value[:40]}…" if isinstance(value, str) and len(value) > 120 else value


def _fields(kind: type, skip: Iterable[str]) -> list[tuple[str, ...]]:
    said = attributes(kind)
    fields = [field for field in attrs.fields(kind) if field.name not in skip and not field.name.startswith("_")]
    return [(_named(field.name, type_of(field)), said.get(field.name, "")) for field in fields]


def _named(name: str, kind: str) -> str:
    """A name with its type below it: one narrow column in place of two."""
    return f"`{name}`<br>`{kind}`{{ .type }}"


# What callbacks get is made of these events; the others are called with the event itself.
_MADE_OF: Mapping[str, str] = {
    "error": "on_error",
    "session.created": "on_open (without a configuration)",
    "session.updated": "on_open (the first one)",
    "conversation.item.input_audio_transcription.delta": "on_input_transcript",
    "conversation.item.input_audio_transcription.text": "on_input_transcript",
    "conversation.item.input_audio_transcription.completed": "on_input_transcript",
    "response.done": "on_done, on_function_call",
}


def _callbacks(kind: type) -> str:
    name = callbacks._BY_CLASS.get(kind, "") or _MADE_OF.get(str(kind.type), "")  # type: ignore[attr-defined]
    return re.sub(r"(on_\w+)", r"`\1`", name)


def _event(kind: type, way: str, base: type) -> str:
    wire = str(kind.type)  # type: ignore[attr-defined]
    parts = [f"### `{wire}` {{ #{wire.replace('.', '-')} }}\n", f"`events.{kind.__name__}`\n", summary(kind), ""]
    facts = [("Families", _families(wire, way)), ("Callback", _callbacks(kind))]
    parts += [f"{name}: {text}  " for name, text in facts if text]
    rows = _fields(kind, ("event_id", "raw"))
    rows += [(_named(name, "property"), text) for name, text in properties(kind, base).items()]
    if rows:
        parts += ["", table(("field", "meaning"), rows)]
    parts += [_example(wire, way), ""]
    return "\n".join(parts)


def _by_group(registry: Mapping[str, type], way: str, base: type) -> str:
    groups: dict[str, list[str]] = {}
    for wire, kind in registry.items():
        groups.setdefault(_group(wire), []).append(_event(kind, way, base))
    return "\n".join(f"## {name}\n\n" + "\n".join(texts) for name, texts in groups.items())


def _overview(registry: Mapping[str, type], way: str) -> str:
    rows: list[tuple[str, ...]] = []
    for wire, kind in registry.items():
        link = f"[`{wire}`](#{wire.replace('.', '-')})"
        facts = (_families(wire, way),)
        rows.append((link, _callbacks(kind), *facts) if way == "server" else (link, *facts))
    return table(("wire type", "callback", "families") if way == "server" else ("wire type", "families"), rows)


def server_events() -> str:
    """Every event the service sends."""
    every = events.SERVER_EVENTS
    return f"{_overview(every, 'server')}\n\n{_by_group(every, 'server', events.ServerEvent)}"


def client_events() -> str:
    """Every event the client sends."""
    every = events.CLIENT_EVENTS
    return f"{_overview(every, 'client')}\n\n{_by_group(every, 'client', events.ClientEvent)}"


def odd_events() -> str:
    """Events that stand for frames which are none."""
    kinds = (events.UnknownEvent, events.MalformedEvent, events.ChoicesEvent)
    return "\n".join(_value(kind, 3) for kind in kinds)


_OBJECTS = (
    events.SessionObject, events.ResponseObject, events.Item, events.ContentPart, events.Usage, events.TokenDetails,
    events.ErrorDetail, events.StatusDetails, events.TurnDetectionObject, events.TranscriptionObject,
    events.AudioObject, events.AudioInputObject, events.AudioOutputObject, events.AudioFormatObject,
)  # fmt: skip


def event_objects() -> str:
    """The objects inside events."""
    return "\n".join(_value(kind, 2) for kind in _OBJECTS)


# Values of the package


def _default(field: attrs.Attribute[Any]) -> str:
    default = field.default
    if default is attrs.NOTHING or default is None or default is config.UNSET or isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return ""
    return f" Default `{default!r}`."


def _value(kind: type, level: int, skip: Iterable[str] = ("raw",)) -> str:
    said = attributes(kind)
    fields = [field for field in attrs.fields(kind) if field.name not in skip and not field.name.startswith("_")]
    rows = [(_named(field.name, type_of(field)), said.get(field.name, "") + _default(field)) for field in fields]
    found = properties(kind, attrs.AttrsInstance)
    rows += [(_named(name, "property"), text) for name, text in found.items() if name != "raw"]
    text = f"{'#' * level} {kind.__name__} {{ #{kind.__name__} }}\n\n{summary(kind)}\n\n"
    return text + table(("field", "meaning"), rows) + "\n" if rows else text


def _takers(field: str) -> str:
    rows = [row.family for row in models.FAMILIES.values() if row.family != "unknown"]
    taking = [name for name in rows if field in models.FAMILIES[name].session_fields]
    if len(taking) == len(rows):
        return "all"
    if len(taking) > len(rows) / 2 + 1:
        return "all but " + ", ".join(name for name in rows if name not in taking)
    return ", ".join(taking) or NONE


def session_fields() -> str:
    """Every field of `SessionConfig`."""
    said = attributes(config.SessionConfig)
    fields = [field for field in attrs.fields(config.SessionConfig) if field.name not in ("spelling", "extra")]
    rows = [(_named(each.name, type_of(each)), said.get(each.name, ""), _takers(each.name)) for each in fields]
    rows.append((_named("extra", "Mapping[str, Any]"), said["extra"], "all"))
    return table(("field", "meaning", "families"), rows)


def config_parts() -> str:
    """The classes that fields of a configuration hold."""
    kinds = (
        config.AudioFormat, config.ServerVad, config.SemanticVad, config.SmartTurn, config.SpeakerDetection,
        config.Transcription, config.Translation, config.FunctionTool, config.McpTool,
    )  # fmt: skip
    return "\n".join(_value(kind, 3) for kind in kinds)


def policies() -> str:
    """Time-outs, pings, bounds, reconnect."""
    kinds = (config.Timeouts, config.Keepalive, config.Limits, config.Reconnect, rt_tools.ToolPolicy)
    return "\n".join(_value(kind, 3) for kind in kinds)


def statistics() -> str:
    """The fields of `session.stats`."""
    return _value(rt_stats.Stats, 3)


def reconnect_values() -> str:
    """What the callbacks about reconnects get."""
    return _value(rt_recovery.Reconnecting, 3) + "\n" + _value(rt_recovery.Lost, 3)


# Models


def _yes(value: bool) -> str:
    return "yes" if value else NONE


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def _known_models(family: str) -> str:
    return ", ".join(f"`{name}`" for name, row in models.MODELS.items() if row == family)


def model_names() -> str:
    """Every name the table knows."""
    return table(("model", "family", "default voice"),
                 [(f"`{name}`", family, models.lookup(name).default_voice or NONE)
                  for name, family in models.MODELS.items()])  # fmt: skip


_ABILITIES: Mapping[str, Callable[[models.ModelInfo], str]] = {
    "default voice": lambda row: row.default_voice or NONE,
    "audio in": lambda row: ", ".join(row.input_formats) or NONE,
    "Hz in": lambda row: ", ".join(map(str, row.input_rates)) or NONE,
    "audio out": lambda row: ", ".join(row.output_formats) or NONE,
    "Hz out": lambda row: ", ".join(map(str, row.output_rates)) or NONE,
    "turn detection": lambda row: ", ".join(row.vad_types) or NONE,
    "text input": lambda row: _yes(row.text_input),
    "pictures": lambda row: _yes(row.images),
    "tools": lambda row: _yes(row.tools),
    "MCP": lambda row: _yes(row.mcp),
    "search": lambda row: _yes(row.search),
    "response.create": lambda row: _yes(row.creates_responses),
    "session.finish": lambda row: _yes(row.session_finish),
    "workspace host": lambda row: "asked for" if row.workspace_host else NONE,
    "max_tokens": lambda row: _number(row.max_tokens),
    "input tokens": lambda row: _number(row.max_input_tokens),
    "context tokens": lambda row: _number(row.context_tokens),
    "audio turns": lambda row: _number(row.max_turns_audio),
    "audio context, s": lambda row: _number(row.context_audio_s),
    "video context, s": lambda row: _number(row.context_video_s),
    "picture, Base64 bytes": lambda row: _number(row.max_image_base64_bytes),
    "pictures per s": lambda row: _number(row.max_image_rate),
    "session, s": lambda row: _number(row.max_session_s),
}


def families() -> str:
    """What each family can do, one small table each: wide ones cannot be read on a phone."""
    parts = []
    for row in models.FAMILIES.values():
        if row.family == "unknown":
            continue
        sampling = ", ".join(f"{name} {value:g}" for name, value in attrs.asdict(row.sampling).items()
                             if name != "seed") if row.sampling else NONE  # fmt: skip
        rows = [(name, show(row)) for name, show in _ABILITIES.items()]
        rows.append(("sampling", sampling + ("" if row.sampling_adjustable else " (fixed)")))
        rows.append(("fields", ", ".join(f"`{name}`" for name in sorted(row.session_fields))))
        head = f"### {row.family} {{ #{row.family.replace('.', '-')} }}\n\n{_known_models(row.family)}\n\n"
        parts.append(head + table(("", "documented"), rows) + "\n")
    return "\n".join(parts)


def voices() -> str:
    """Voices by family."""
    return table(("model or family", "voices"),
                 [(name, ", ".join(listed)) for name, listed in models.VOICES.items()])  # fmt: skip


def regions() -> str:
    """Regions and hosts."""
    return table(("region", "public host", "workspace host"),
                 [(f"`{row.name}`", f"`{row.public_host}`", f"`{row.workspace_host}`")
                  for row in models.REGIONS.values()])  # fmt: skip


# Errors and callbacks


def error_tree() -> str:
    """The tree as it is drawn on top of the module, and every class."""
    drawing = (errors.__doc__ or "").split("\n\n")[1]
    names = [re.sub(r"^    |(?<=\w)  .*", "", line) for line in drawing.splitlines()]  # what each is stands below
    parts = ["```text", *names, "```\n"]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if name == "CloseInfo":
            parts.append(_value(kind, 3))
            continue
        bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
        said = [(f"`{field}`", text) for field, text in attributes(kind).items() if field in _own(kind)]
        parts.append(f"### {name} {{ #{name} }}\n\n{summary(kind)} Based on {bases}.\n")
        if said:
            parts.append(table(("attribute", "meaning"), said) + "\n")
    return "\n".join(parts)


def _own(kind: type) -> Iterable[str]:
    own = attributes(kind)
    above: dict[str, str] = {}
    for base in kind.__bases__:
        above |= attributes(base)
    return [name for name in own if own[name] != above.get(name)]


def callback_table() -> str:
    """Every friendly callback and what it gets."""
    rows = []
    for name, gets in callbacks.FRIENDLY.items():
        what, _, when = gets.partition(": ")
        rows.append((f"`{name}`", markdown(what), when))
    return table(("callback", "gets", "when"), rows)


# The emulator


def variants() -> str:
    """What can be varied of the emulator."""
    said = attributes(Variants)
    return table(("option", "default", "meaning"),
                 [(f"`{name}`", f"`{field.default!r}`", said.get(name, ""))
                  for name, field in Variants.__dataclass_fields__.items()])  # fmt: skip


def faults() -> str:
    """What ``--fault list`` prints."""
    return f"```text\n{listing()}```\n"


def changelog() -> str:
    """The project's changelog, one level down."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n")[2]


def measured() -> str:
    """The README's section about speed, if it has one: its figures come from the benchmarks."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        if re.search(r"speed|performance|fast|measured", title, re.IGNORECASE):
            body = re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL)
            return body.strip().replace(PLOT.relative_to(ROOT).as_posix(), f"../{PLOT_PAGE}")
    return "The README has no figures yet; run the benchmarks."


PARTS: Mapping[str, Callable[[], str]] = {
    part.__name__: part
    for part in (
        server_events, client_events, odd_events, event_objects, session_fields, config_parts, policies, statistics,
        reconnect_values, model_names, families, voices, regions, error_tree, callback_table, variants, faults,
        changelog, measured,
    )
}  # fmt: skip


# For the links


def event_classes() -> Mapping[str, type]:
    """The classes of events by their names."""
    every = (*events.SERVER_EVENTS.values(), *events.CLIENT_EVENTS.values())
    return {kind.__name__: kind for kind in every}


def found(path: str) -> object:
    """What a dotted path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
