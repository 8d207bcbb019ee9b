"""What the callbacks and turns hand out: a response as a whole, a function call to answer, a transcript of the user.

A `Response` grows on the network thread while its events come in and never changes after its end; reading it is safe
from any thread. Nothing here knows a socket or a thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Literal

import attrs

from . import events as ev
from ._display import CALLS, EMBEDDED_BYTES, Sheet, Sound, bundle, ms
from .audio.pcm import duration_ms
from .audio.wav import is_wav, read_wav
from .errors import APIError, classify

__all__ = ["FunctionCall", "InputTranscript", "Interruption", "McpApproval", "Response"]

TOOL, CALLBACK, NOBODY = "tool", "callback", ""  # who answers a function call


@attrs.frozen(kw_only=True)
class InputTranscript:
    """What the service understood of the user's speech so far. Source: input_audio_transcription events.

    Attributes:
        text: The transcript: final, or a preview that later events revise.
        final: Whether this is the last word on this item.
        item_id: The user item it belongs to; None where the service leaves it out.
        language: Language code such as ``zh``, where the service tells it.
        emotion: Such as ``neutral``, where the service tells it.
        event: The event it was made from.
    """

    text: str = attrs.field(repr=lambda text: f"<{len(text)} chars>")
    final: bool
    item_id: str | None = None
    language: str | None = None
    emotion: str | None = None
    event: ev.ServerEvent = attrs.field(repr=False, eq=False)


class FunctionCall:
    """A function the model wants called. Answer it once with `respond`, from any thread.

    Attributes:
        name: The function's name.
        call_id: The service's id of this call.
        arguments_json: The arguments as the model wrote them, JSON text without surrounding blanks.
        response_id: The response it came in.
    """

    __slots__ = ("_answer", "_once", "_taker", "arguments_json", "call_id", "name", "response_id")

    def __init__(
        self,
        *,
        name: str,
        call_id: str,
        arguments_json: str,
        response_id: str | None,
        answer: Callable[[FunctionCall, str], str] | None = None,
    ) -> None:
        self.name = name
        self.call_id = call_id
        self.arguments_json = arguments_json.strip()
        self.response_id = response_id
        self._answer = answer
        self._once = [True]  # popped by the one answer: a list, because pop() is atomic
        self._taker = CALLBACK  # who is to answer it; network thread

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as a dict; {} when the model gave none.

        Raises:
            ValueError: The model wrote something that is no JSON object; tell it so with ``respond``.
        """
        return _arguments(self.name, self.arguments_json)

    @property
    def answered(self) -> bool:
        """Whether `respond` was called."""
        return not self._once

    def respond(self, output: Any) -> str:
        """Send the function's result; when all calls of the response have one, the model is asked to go on.

        The results are acknowledged first, then exactly one ``response.create`` follows, once no response runs and
        the user does not speak. If the service starts a response by itself meanwhile, that one is taken instead.

        Args:
            output: A str is sent as it is, anything else as JSON.

        Returns:
            The id of the event that was sent.

        Raises:
            RuntimeError: This call was answered before, or was made outside a session.
            TypeError: The output is neither text nor JSON-able.
            ConnectionClosed: The session is over.
        """
        if self._answer is None:
            raise RuntimeError(f"the call {self.call_id} belongs to no session")
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        try:
            self._once.pop()
        except IndexError:
            raise RuntimeError(f"the call {self.call_id} of {self.name} was answered before") from None
        try:
            return self._answer(self, text)
        except BaseException:
            self._once.append(True)  # it was not sent, so it may be tried again
            raise

    def __repr__(self) -> str:
        return (
            f"FunctionCall(name={self.name!r}, call_id={self.call_id!r},"
            f" arguments=<{len(self.arguments_json)} chars>, answered={self.answered})"
        )


@attrs.frozen(kw_only=True)
class Interruption:
    """An answer was cut off. Its `Response` goes on being true; this is how things were at that moment.

    Attributes:
        response: The answer.
        by: ``speech``: the user began to speak (VAD); ``client``: `RealtimeSession.interrupt` or a cancel; ``service``:
            the service ended it, or began another one in its place.
        heard_ms: How much of its audio was given to the speaker's device, and so is heard when that is silent, within
            one block; None where no `Speaker` plays it.
        heard_text: What was said until then, to the last whole word (see `Response.text_until`); None likewise.
    """

    response: Response
    by: Literal["speech", "client", "service"]
    heard_ms: float | None = None
    heard_text: str | None = attrs.field(
        default=None, repr=lambda text: "None" if text is None else f"<{len(text)} chars>"
    )


# A word and the blanks before it; in scripts without blanks every character is one.
_WORDS = re.compile(r"\s*(?:[^\s\u2e80-\uffdc]+|[\u2e80-\uffdc])")


class McpApproval:
    """A call of an MCP server's tool that waits for a yes or a no (3.8). Source: client events, mcp_approval_response.

    Decide once, from any thread. The service then calls the tool by itself; when that has ended, ask for the answer
    with ``session.create_response()``.

    Attributes:
        id: The id of the request.
        server_label: Which of the session's MCP servers.
        name: The tool's name there.
        arguments_json: The arguments as the model wrote them, JSON text.
    """

    __slots__ = ("_decide", "_once", "arguments_json", "id", "name", "server_label")

    def __init__(
        self,
        request_id: str,
        *,
        server_label: str,
        name: str,
        arguments_json: str,
        decide: Callable[[str, bool], str] | None = None,
    ) -> None:
        self.id = request_id
        self.server_label = server_label
        self.name = name
        self.arguments_json = arguments_json.strip()
        self._decide = decide
        self._once = [True]

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments as a dict; {} when there are none.

        Raises:
            ValueError: The model wrote something that is no JSON object.
        """
        return _arguments(self.name, self.arguments_json)

    @property
    def answered(self) -> bool:
        """Whether it was decided."""
        return not self._once

    def approve(self) -> str:
        """Let the service call the tool; returns the id of the event that was sent.

        Raises:
            RuntimeError: It was decided before, or belongs to no session.
            ConnectionClosed: The session is over.
        """
        return self._answer(True)

    def deny(self) -> str:
        """Refuse the call; otherwise as `approve`."""
        return self._answer(False)

    def _answer(self, approve: bool) -> str:
        if self._decide is None:
            raise RuntimeError(f"the approval {self.id} belongs to no session")
        try:
            self._once.pop()
        except IndexError:
            raise RuntimeError(f"the approval {self.id} of {self.name} was decided before") from None
        try:
            return self._decide(self.id, approve)
        except BaseException:
            self._once.append(True)  # it was not sent, so it may be tried again
            raise

    def __repr__(self) -> str:
        return (
            f"McpApproval(id={self.id!r}, server_label={self.server_label!r}, name={self.name!r},"
            f" arguments=<{len(self.arguments_json)} chars>, answered={self.answered})"
        )


def _arguments(name: str, text: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the model's arguments for {name} are not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"the model's arguments for {name} are not a JSON object")
    return value


def _delta(text: str) -> ev.ResponseAudioDelta:
    return ev.ResponseAudioDelta(delta=text)


class Response:
    """One answer of the model, put together from its events.

    Attributes:
        id: The service's id.
        status: ``in_progress``, then ``completed``, ``failed``, ``incomplete`` or ``cancelled``. ``cancelled`` is also
            what the SDK says of a response that was cancelled or interrupted and whose end the service never sent.
        usage: Tokens, or None.
        output: Items as ``response.done`` listed them, or as they came one by one where it lists none.
        function_calls: Calls to answer; only of a completed response.
        conversation_id: Where the service tells it.
        status_details: As it came, or None.
        audio_rate: Hz of `audio`.
        interrupted: The user spoke, or it was cancelled: the rest of it did not sound, whatever else came of it.
        created_at, first_text_at, first_audio_at, done_at: ``time.monotonic()`` seconds; None if it did not happen.
    """

    def __init__(self, response_id: str, now: float, audio_rate: int) -> None:
        self.id = response_id
        self.status = "in_progress"
        self.usage: ev.Usage | None = None
        self.output: tuple[ev.Item, ...] = ()
        self.function_calls: tuple[FunctionCall, ...] = ()
        self.conversation_id: str | None = None
        self.status_details: ev.StatusDetails | None = None
        self.audio_rate = audio_rate
        self.created_at = now
        self.first_text_at: float | None = None
        self.first_audio_at: float | None = None
        self.done_at: float | None = None
        self.interrupted = False
        self.stopped = False  # nothing more is to be expected of it, though its end may not have been said
        self._error: ev.ErrorDetail | None = None
        self._texts: dict[tuple[str | None, int | None], list[str]] = {}
        self._finals: dict[tuple[str | None, int | None], str] = {}
        # Base64 text or PCM of each piece; not the events, which the garbage collector would look at again and again.
        self._audio: list[str | bytes] = []
        self._items: dict[str, ev.Item] = {}
        self._heard: Callable[[str], float] | None = None
        self._chars = 0
        self._chars_with_audio = 0  # of the text that came before the last piece of audio

    @property
    def text(self) -> str:
        """What the model said or wrote: the transcript of its speech, or its text."""
        parts = [self._finals.get(key) or "".join(pieces) for key, pieces in self._texts.copy().items()]
        parts += [text for key, text in self._finals.copy().items() if key not in self._texts]
        return "".join(parts) or "".join(item.text for item in self.output)

    @property
    def audio(self) -> bytes:
        """What the model said, as signed 16-bit little-endian mono PCM at `audio_rate`.

        Where WAV was asked for, the headers are taken off; how the service cuts a WAV into deltas is not documented.
        """
        parts = (part if isinstance(part, bytes) else _delta(part).audio for part in self._audio.copy())
        return b"".join(read_wav(part).pcm if is_wav(part) else part for part in parts)

    @property
    def audio_bytes(self) -> int:
        """How many bytes `audio` has, counted without decoding it."""
        return sum(len(part) if isinstance(part, bytes) else _delta(part).audio_bytes for part in self._audio.copy())

    @property
    def heard_ms(self) -> float | None:
        """How much of its audio was really heard so far, in ms; None where no `Speaker` plays it.

        It is the place in the audio that sounds now, the device's latency taken off; see `RealtimeSession.play_on`.
        """
        return None if self._heard is None else self._heard(self.id)

    @property
    def heard_text(self) -> str | None:
        """What of `text` was really heard so far, to the last whole word; None where no `Speaker` plays it."""
        heard = self.heard_ms
        return None if heard is None else self.text_until(heard)

    def text_until(self, ms: float) -> str:
        """Return what of `text` is spoken in the first ``ms`` milliseconds of the audio, to the last whole word.

        The service does not say which word sounds when, so the words are spread evenly over the audio: all of them when
        the response is over, and while it runs those whose transcript came before its last piece of audio.
        """
        total = duration_ms(self.audio_bytes, self.audio_rate)
        text = self.text
        if self.done_at is None or self.status != "completed":
            text = text[: self._chars_with_audio]
        if total <= 0 or ms <= 0:
            return ""
        if ms >= total - 1:  # ms: a device that resamples rounds
            return text
        until = int(len(text) * ms / total)
        ends = [word.end() for word in _WORDS.finditer(text) if word.end() <= until]
        return text[: ends[-1]] if ends else ""

    @property
    def error(self) -> APIError | None:
        """Why it failed, as an exception one can raise; None if the service gave no reason."""
        detail = self._error
        if detail is None:
            return None
        kind = classify(detail.code, detail.type, detail.message, status=detail.status)
        return kind(
            detail.message or "the response failed",
            status=detail.status,
            code=detail.code,
            error_type=detail.type,
            param=detail.param,
        )

    def __repr__(self) -> str:
        return (
            f"Response(id={self.id!r}, status={self.status!r}, text=<{len(self.text)} chars>,"
            f" audio_deltas={len(self._audio)}, function_calls={len(self.function_calls)})"
        )

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Show text, player and timing in a notebook; speech over 3 MB, a minute, is not put into it."""
        sound, problem, size = None, str(self.error or ""), self.audio_bytes
        if size:
            try:
                pcm = self.audio if size <= EMBEDDED_BYTES else b""
                sound = Sound(pcm=pcm, size=len(pcm) or size, rate=self.audio_rate)
            except ValueError as error:  # a notebook must show the rest
                problem = problem or str(error)
        said = [("Model", self.text)] if self.text else []
        said += [(CALLS, f"{call.name}({call.arguments_json})") for call in self.function_calls]
        times = {"first text": self.first_text_at, "first audio": self.first_audio_at, "complete": self.done_at}
        facts = [(label, ms((at - self.created_at) * 1000)) for label, at in times.items() if at is not None]
        if self.usage is not None and self.usage.total_tokens is not None:
            facts.append(("tokens", f"{self.usage.total_tokens:,}"))
        sheet = Sheet(
            name="Response",
            state=self.status,
            said=tuple(said),
            sound=sound,
            problem=problem,
            facts=tuple(facts),
        )
        return bundle(sheet)

    # ---- network thread only ----------------------------------------------------------------------------------

    def _add_text(self, item_id: str | None, index: int | None, delta: str, now: float) -> None:
        if self.first_text_at is None and delta:
            self.first_text_at = now
        self._texts.setdefault((item_id, index), []).append(delta)
        self._chars += len(delta)

    def _set_text(self, item_id: str | None, index: int | None, text: str, now: float) -> None:
        if self.first_text_at is None and text:
            self.first_text_at = now
        self._finals[item_id, index] = text

    def _add_audio(self, delta: ev.ResponseAudioDelta, now: float) -> None:
        if self.first_audio_at is None:
            self.first_audio_at = now
        self._audio.append(delta._carried)
        self._chars_with_audio = self._chars

    def _played_by(self, heard_ms: Callable[[str], float]) -> None:
        self._heard = heard_ms

    def _add_item(self, item: ev.Item) -> None:
        self._items[item.id or str(len(self._items))] = item

    def _finish(self, status: str, now: float, final: ev.ResponseObject | None) -> None:
        self.status = status
        self.done_at = now
        self.stopped = True
        if final is not None:
            self.usage = final.usage
            self.conversation_id = final.conversation_id or self.conversation_id
            self.status_details = final.status_details
            details = final.status_details
            self._error = final.error or (details.error if details is not None else None)
        self.output = (final.output if final is not None else ()) or tuple(self._items.values())
