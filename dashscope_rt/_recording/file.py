r"""The file of a recording: one JSON object per line, audio and pictures inside, readable up to the last whole line.

    {"dashscope_rt_recording": 1, "created": "…", "sdk": "…", "model": "…", "texts": true, "audio": true, "ids": true}
    {"at": 0.041, "way": "received", "event": {"type": "session.created", …}}
    {"at": 0.043, "way": "sent", "event": {"type": "input_audio_buffer.append", …},
     "media": {"field": "audio", "bytes": 3200, "data": "<Base64>"}}
    {"at": 3.271, "way": "closed", "event": {"who": "client", "code": 1000, "reason": ""}}

``at`` counts seconds from the first line. Without ``data`` the media was left out: it is read as silence of its length.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from .privacy import Pseudonyms, without_secrets, without_texts

VERSION = 1
_MARK = "dashscope_rt_recording"
# Which field of which event holds audio or a picture.
MEDIA: Mapping[str, str] = {
    "input_audio_buffer.append": "audio",
    "input_image_buffer.append": "image",
    "response.audio.delta": "delta",
}
Way = Literal["sent", "received", "closed", "note"]


@attrs.frozen(kw_only=True)
class Entry:
    """One line of a recording.

    Attributes:
        at: Seconds since the recording began.
        way: ``sent`` (by the client), ``received`` (from the service), ``closed``, or ``note``.
        media_bytes: Bytes of audio or picture in it; 0 without any.
    """

    at: float
    way: str
    media_bytes: int = 0
    _event: Mapping[str, Any] = attrs.field(repr=False)
    _media: Mapping[str, Any] | None = attrs.field(default=None, repr=False)

    @property
    def type(self) -> str:
        """The event's wire type; "" for what is no event."""
        kind = self._event.get("type")
        return kind if isinstance(kind, str) else ""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The event without its audio or picture."""
        return self._event

    @property
    def media(self) -> bytes:
        """The audio or the picture; zeros (silence) where it was left out."""
        if self._media is None:
            return b""
        data = self._media.get("data")
        return base64.b64decode(data) if isinstance(data, str) else bytes(self.media_bytes)

    @property
    def event(self) -> dict[str, Any]:
        """The event as it was on the wire, with its audio or picture in Base64."""
        event = dict(self._event)
        if self._media is not None:
            data = self._media.get("data")
            field = str(self._media.get("field", "audio"))
            event[field] = data if isinstance(data, str) else base64.b64encode(bytes(self.media_bytes)).decode()
        return event


@attrs.frozen(kw_only=True)
class Recording:
    """A recorded session, read from its file.

    Attributes:
        header: The first line.
        entries: Everything else, in order.
        torn: Whether the recording ends in the middle of a line: the program that made it was killed.
        problems: Lines that could not be read, besides a torn last one.
    """

    header: Mapping[str, Any]
    entries: tuple[Entry, ...] = attrs.field(repr=lambda entries: f"<{len(entries)}>")
    torn: bool = False
    problems: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model of the recorded session."""
        return str(self.header.get("model") or "")

    @property
    def seconds(self) -> float:
        """How long the recording lasts."""
        return self.entries[-1].at if self.entries else 0.0

    def received(self) -> Iterator[Entry]:
        """The service's events."""
        return (entry for entry in self.entries if entry.way == "received")

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a recording.

        Raises:
            ValueError: It is no recording, or of a newer version of the format.
            OSError: The file cannot be read.
        """
        lines = Path(path).read_bytes().split(b"\n")
        last = lines.pop()  # b"" after a whole line
        header = _object(lines[0]) if lines else None
        version = header.get(_MARK) if header is not None else None
        if header is None or not isinstance(version, int):
            raise ValueError(f"{os.fspath(path)} is no recording: its first line does not say {_MARK}")
        if version > VERSION:
            raise ValueError(
                f"{os.fspath(path)} has version {version} of the format and this package reads up to {VERSION}: update"
            )
        entries, problems = [], []
        for number, line in enumerate(lines[1:], 2):
            entry = _entry(_object(line))
            if entry is not None:
                entries.append(entry)
            else:
                problems.append(f"line {number} cannot be read")
        return cls(header=header, entries=tuple(entries), torn=bool(last), problems=tuple(problems))


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _entry(line: Mapping[str, Any] | None) -> Entry | None:
    if line is None or not isinstance(line.get("event"), dict) or not isinstance(line.get("at"), (int, float)):
        return None
    media = line.get("media")
    size = media.get("bytes") if isinstance(media, dict) else 0
    return Entry(
        at=float(line["at"]),
        way=str(line.get("way")),
        event=line["event"],
        media=media if isinstance(media, dict) else None,
        media_bytes=size if isinstance(size, int) else 0,
    )


class Writer:
    """Writes a recording line by line; what was written survives the death of the program.

    Args:
        path: The file, made with rights for its owner only.
        header: More fields for the first line.
        texts: Keep what was said and written; otherwise it is dots.
        audio: Keep audio and pictures; otherwise only their lengths.
        ids: Keep the service's identifiers; otherwise they are numbered.
        overwrite: Write over a file that is there.

    Raises:
        FileExistsError: There is such a file already.
        OSError: It cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        header: Mapping[str, Any],
        *,
        texts: bool = True,
        audio: bool = True,
        ids: bool = True,
        overwrite: bool = False,
    ) -> None:
        self._texts, self._audio = texts, audio
        self._pseudonyms = None if ids else Pseudonyms()
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL) | getattr(os, "O_BINARY", 0)
        self._file = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        first = {_MARK: VERSION, **without_secrets(header), "texts": texts, "audio": audio, "ids": ids}
        try:
            self._line(first)
        except BaseException:
            self._file.close()
            raise

    def add(self, at: float, way: Way, event: Mapping[str, Any]) -> None:
        """Write one line."""
        facts = dict(event)
        line: dict[str, Any] = {"at": round(at, 6), "way": way, "event": facts}
        field = MEDIA.get(str(facts.get("type")))
        data = facts.pop(field, None) if field is not None else None
        if isinstance(data, str):
            line["media"] = {"field": field, "bytes": len(data) * 3 // 4 - data[-2:].count("=")}
            if self._audio:
                line["media"]["data"] = data
        facts = without_secrets(facts)
        if not self._texts and way in ("sent", "received"):
            facts = without_texts(facts)
        line["event"] = self._pseudonyms(facts) if self._pseudonyms is not None else facts
        self._line(line)

    def _line(self, value: Mapping[str, Any]) -> None:
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n"
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        """Close the file; may be called again."""
        self._file.close()
