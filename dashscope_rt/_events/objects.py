"""The things that events carry: sessions, responses, items, usage, errors; `events` gives them to the public.

Every field may be missing on the wire, so every field may be None; ``raw`` holds the object as it came, with
what this package does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .wire import WireObject, shown_as_bytes, shown_as_chars, shown_as_count, shown_as_names


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorDetail(WireObject):
    """What went wrong, in the service's words. Source: server events, error.

    Attributes:
        type: For example ``invalid_request_error`` (the session stays open) or ``server_error``; may be ""
            or None.
        code: For example ``invalid_value``; may be "" or None, and comes in several spellings.
        message: The service's text.
        param: The field at fault, for example ``session.modalities``.
        event_id: The client event at fault, where the service names it.
        status: A number like an HTTP status; seen by clients, not documented.
    """

    type: str | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
    event_id: str | None = None
    status: int | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ContentPart(WireObject):
    """A piece of an item's content. Source: server events, response.content_part.*.

    Attributes:
        type: ``audio``, ``text``, ``input_audio`` or ``input_text``.
        text: The words; the audio part of a finished item carries its words here or in ``transcript``.
        transcript: The words of an audio part.
        audio: Base64 audio; not seen so far, read because OpenAI's protocol has it.
    """

    type: str | None = None
    text: str | None = attrs.field(default=None, repr=shown_as_chars)
    transcript: str | None = attrs.field(default=None, repr=shown_as_chars)
    audio: str | None = attrs.field(default=None, repr=shown_as_bytes)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Item(WireObject):
    """A conversation item: a message, a function call or its output, an MCP call. Source: server events.

    Attributes:
        id: The item's id; Omni replaces ids chosen by the client.
        object: ``realtime.item``.
        type: ``message``, ``function_call``, ``function_call_output``, ``mcp_approval_request`` and others.
        status: ``in_progress``, ``completed``, ``incomplete``, ``failed``.
        role: ``user`` or ``assistant``; some pages show ``assistant`` on the user's own item.
        content: The parts of a message; () when absent or null.
        call_id: Names the call that an output belongs to.
        name: The function to call.
        arguments: JSON text, often with a leading space; "" while the call is being written.
        output: The text given back for a call.
        approval_request_id: The ``mcp_approval_request`` item that this one answers.
        approve: The answer to it.
        server_label: The MCP server.
        error: What an MCP call failed with; its shape is not documented.
        tools: The tools an MCP server offers.
    """

    id: str | None = None
    object: str | None = None
    type: str | None = None
    status: str | None = None
    role: str | None = None
    content: tuple[ContentPart, ...] = ()
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = attrs.field(default=None, repr=shown_as_chars)
    output: str | None = attrs.field(default=None, repr=shown_as_chars)
    approval_request_id: str | None = None
    approve: bool | None = None
    server_label: str | None = None
    error: Any = attrs.field(default=None, repr=shown_as_chars)
    tools: tuple[Mapping[str, Any], ...] | None = attrs.field(default=None, repr=shown_as_count)

    @property
    def text(self) -> str:
        """The words of all parts, from ``text`` or ``transcript``; "" when there are none."""
        return "".join(part.text or part.transcript or "" for part in self.content)


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


def _sum_plugins(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        merged = {**one, **other}
        return {
            key: _sum_plugins(one[key], other[key]) if key in one and key in other else merged[key] for key in merged
        }
    numbers = type(one) in (int, float) and type(other) in (int, float)
    return one + other if numbers else one if other is None else other


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenDetails(WireObject):
    """Tokens by kind; a kind that was not used is absent. Source: server events, response.done."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    video_tokens: int | None = None
    cached_tokens: int | None = None

    def __add__(self, other: TokenDetails) -> TokenDetails:
        if not isinstance(other, TokenDetails):
            return NotImplemented
        return TokenDetails(
            text_tokens=_sum(self.text_tokens, other.text_tokens),
            audio_tokens=_sum(self.audio_tokens, other.audio_tokens),
            image_tokens=_sum(self.image_tokens, other.image_tokens),
            video_tokens=_sum(self.video_tokens, other.video_tokens),
            cached_tokens=_sum(self.cached_tokens, other.cached_tokens),
        )


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Usage(WireObject):
    """What a response is billed by. Adding two sums them; a number neither side has stays None.

    Source: server events, response.done. The plural and the singular spelling of the details are both read.

    Attributes:
        total_tokens: Tokens of input and output together.
        input_tokens: Tokens read, with the history, which is billed again each turn.
        output_tokens: Tokens written.
        input_tokens_details: The input by kind.
        output_tokens_details: The output by kind; no audio for answers that only call tools.
        characters: Characters spoken (qwen3-tts, which counts these in place of tokens).
        plugins: For example ``{"search": {"count": 1, "strategy": "agent"}}``.
    """

    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None
    characters: int | None = None
    plugins: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)

    def __add__(self, other: Usage) -> Usage:
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            total_tokens=_sum(self.total_tokens, other.total_tokens),
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            input_tokens_details=_sum_details(self.input_tokens_details, other.input_tokens_details),
            output_tokens_details=_sum_details(self.output_tokens_details, other.output_tokens_details),
            characters=_sum(self.characters, other.characters),
            plugins=_sum_plugins(self.plugins, other.plugins),
        )


def _sum_details(one: TokenDetails | None, other: TokenDetails | None) -> TokenDetails | None:
    return other if one is None else one if other is None else one + other


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StatusDetails(WireObject):
    """Why a response ended as it did. Source: server events, response.done.

    Attributes:
        type: Repeats the status, for example ``cancelled``.
        reason: ``turn_detected`` (the user spoke) or ``client_cancelled``; documented for Qwen-Audio only.
        error: What a failed response failed with.
    """

    type: str | None = None
    reason: str | None = None
    error: ErrorDetail | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseObject(WireObject):
    """One answer of the model. Source: server events, response.created and response.done.

    Attributes:
        id: The response's id; the same in every event of this response.
        object: ``realtime.response``.
        conversation_id: "" on TTS.
        status: ``in_progress``, ``completed``, ``failed``, ``incomplete`` or ``cancelled``.
        status_details: Why, where the service says.
        modalities: ``text``, ``audio``; None when absent.
        voice: The voice that speaks.
        output_audio_format: For example ``pcm``.
        output: The finished items; () when absent, null or not there yet.
        usage: Only on response.done.
        error: What a failed response failed with, when it does not stand in ``status_details``.
    """

    id: str | None = None
    object: str | None = None
    conversation_id: str | None = None
    status: str | None = None
    status_details: StatusDetails | None = None
    modalities: tuple[str, ...] | None = None
    voice: str | None = None
    output_audio_format: str | None = None
    output: tuple[Item, ...] = ()
    usage: Usage | None = None
    error: ErrorDetail | None = None

    @property
    def text(self) -> str:
        """The answer's words, written or spoken; "" when there are none."""
        return "".join(item.text for item in self.output)

    @property
    def function_calls(self) -> tuple[Item, ...]:
        """The items of type ``function_call``; run them only when ``status`` is ``completed``."""
        return tuple(item for item in self.output if item.type == "function_call")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TranscriptionObject(WireObject):
    """How the input is transcribed, as the session echoes it. Source: server events, session.updated."""

    model: str | None = None
    language: str | None = None
    corpus: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TurnDetectionObject(WireObject):
    """How turns are detected, as the session echoes it; times in ms.

    Source: server events, session.updated.
    """

    type: str | None = None
    threshold: float | None = None
    prefix_padding_ms: int | None = None
    silence_duration_ms: int | None = None
    idle_timeout_ms: int | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioFormatObject(WireObject):
    """A nested audio format, as the session echoes it; rates in Hz (``rate`` is OpenAI's name for it)."""

    type: str | None = None
    sample_rate: int | None = None
    rate: int | None = None
    sample_format: str | None = None
    channels: int | None = None
    packing: str | None = None
    channel_layout: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioInputObject(WireObject):
    """The ``audio.input`` half of a nested session echo."""

    format: AudioFormatObject | None = None
    turn_detection: TurnDetectionObject | None = None
    transcription: TranscriptionObject | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioOutputObject(WireObject):
    """The ``audio.output`` half of a nested session echo."""

    voice: str | None = None
    format: AudioFormatObject | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AudioObject(WireObject):
    """The nested ``audio`` of a session: Omni echoes it where it was used, LiveTranslate 3.8 always."""

    input: AudioInputObject | None = None
    output: AudioOutputObject | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionObject(WireObject):
    """A session's configuration as the service echoes it, of every family on this path.

    Source: server events, session.created and session.updated; field meanings as in `config.SessionConfig`.

    Attributes:
        id: The session's id.
        max_response_output_token: Sic, singular; "inf" or a number of tokens.
        seed: -1 means unset.
        tools: Functions nested or flat, MCP servers without address and credentials; as they came.
    """

    id: str | None = None
    object: str | None = None
    model: str | None = None
    modalities: tuple[str, ...] | None = None
    input_modalities: tuple[str, ...] | None = None
    output_modalities: tuple[str, ...] | None = None
    voice: str | None = None
    audio: AudioObject | None = None
    video: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)
    input_audio_format: str | None = None
    output_audio_format: str | None = None
    input_audio_transcription: TranscriptionObject | None = None
    instructions: str | None = attrs.field(default=None, repr=shown_as_chars)
    smooth_output: bool | None = None
    turn_detection: TurnDetectionObject | None = None
    enable_search: bool | None = None
    search_options: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)
    tools: tuple[Mapping[str, Any], ...] | None = attrs.field(default=None, repr=shown_as_count)
    tool_choice: Any = attrs.field(default=None, repr=lambda choice: repr(choice) if isinstance(choice, str) else "<…>")
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    max_response_output_token: str | int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    sample_rate: int | None = None
    translation: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)
    enable_voice_clone: bool | None = None
    voice_clone_options: Mapping[str, Any] | None = attrs.field(default=None, repr=shown_as_names)
    mode: str | None = None
    language_type: str | None = None
    response_format: str | None = None
    speech_rate: float | None = None
    pitch_rate: float | None = None
    volume: int | None = None
    bit_rate: int | None = None
    optimize_instructions: bool | None = None
    enable_tn: bool | None = None
    max_history_turns: int | None = None
