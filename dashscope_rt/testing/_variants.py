"""The ways in which the service is known, or said, to differ: one attribute each, with the default the emulator takes.

A client must work with every value. Tests choose the ones they are about.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Variants"]

_DEFAULT_MAX_MESSAGE = 32 * 1024 * 1024

_CHOICES: dict[str, tuple[object, ...]] = {
    "transcription": ("deltas", "completed", "off"),
    "barge_in_done": ("cancelled", "completed", "incomplete", None),
    "user_item_role": ("user", "assistant"),
    "wav_headers": ("first", "each"),
    "refusal_body": ("flat", "nested", "empty"),
    "refusal_status": (401, 403),
}


@dataclass(frozen=True, kw_only=True)
class Variants:
    """Everything about the service that is uncertain or can be compressed in time. Times are in seconds unless named.

    Attributes:
        error_event_ids: Put the offending client event's id into ``error.event_id``: True always, False never, None
            only where the sources say so (a refused ``response.create`` under semantic VAD).
        cancel_sends_done: ``response.done`` follows a ``response.cancel``. None is what was measured: not on qwen3.5.
        transcription: How speech is transcribed when ``input_audio_transcription`` is on: growing deltas and
            ``completed``, only ``completed``, or nothing.
        transcribe: Makes the transcript of one turn from its mono s16le bytes and rate. Without it the answer's
            ``input_transcript`` is used, which a callable ``answer`` can only give after ``response.created``.
        repeat_speech_started: How often ``speech_started`` is repeated on the appends that follow it.
        barge_in_done: Status of the interrupted response's ``response.done``; None: its events just end.
        late_deltas: Deltas of the interrupted response that still come after ``speech_started``.
        semantic_early_item: Under semantic VAD ``conversation.item.created`` comes while the user still speaks.
        user_item_role: Role of the item made from the user's speech; the documentation shows both.
        item_created: Send ``conversation.item.created`` for function calls too.
        arguments_leading_space: Function call arguments given as a dict start with a space, as they often do.
        continue_after_tools: In VAD mode the server answers by itself once every call has its output.
        commit_in_vad_closes: A commit in VAD mode ends the session with 1011 after its error.
        wav_headers: With the ``wav`` output format the RIFF header is in the first delta, or each delta is a file.
        merge_nested: An update of ``turn_detection`` keeps what it does not name; otherwise that goes back to defaults.
        session_finish: The service knows ``session.finish``; None is what the model's family does.
        voices: Voices that are taken besides clones (``qwen-omni-vc-…``); None: those listed for the model's family.
        min_commit_ms: Shorter committed audio is "too small", ms.
        response_idle_s: The session is closed when no response was generated for so long.
        session_limit_s: The longest session; None is what the model's family does.
        idle_timeout_scale: Factor on ``turn_detection.idle_timeout_ms``, to make five seconds short.
        ping_interval_s: The server pings this often; None: never.
        workspace: Only this workspace id is let in, by its host or by ``X-DashScope-WorkSpace``.
        workspace_host_only: The id must be in the host name.
        refusal_body: Shape of a refused handshake's body: ``{"code",…}``, ``{"error":{…}}`` or ``{}``.
        refusal_status: Status for a wrong key; 401 and 403 are both documented.
        max_message_bytes: Larger messages of the client end the connection with 1009.
    """

    error_event_ids: bool | None = None
    cancel_sends_done: bool | None = None
    transcription: Literal["deltas", "completed", "off"] = "deltas"
    transcribe: Callable[[bytes, int], str] | None = None
    repeat_speech_started: int = 0
    barge_in_done: Literal["cancelled", "completed", "incomplete"] | None = "cancelled"
    late_deltas: int = 0
    semantic_early_item: bool = True
    user_item_role: Literal["user", "assistant"] = "user"
    item_created: bool = True
    arguments_leading_space: bool = True
    continue_after_tools: bool = False
    commit_in_vad_closes: bool = False
    wav_headers: Literal["first", "each"] = "first"
    merge_nested: bool = True
    session_finish: bool | None = None
    voices: Collection[str] | None = None
    min_commit_ms: int = 100
    response_idle_s: float = 300.0
    session_limit_s: float | None = None
    idle_timeout_scale: float = 1.0
    ping_interval_s: float | None = 20.0
    workspace: str | None = None
    workspace_host_only: bool = False
    refusal_body: Literal["flat", "nested", "empty"] = "flat"
    refusal_status: Literal[401, 403] = 401
    max_message_bytes: int = _DEFAULT_MAX_MESSAGE

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")

    @classmethod
    def of(cls, **values: Any) -> Variants:
        """Make them from keyword arguments.

        Raises:
            TypeError: There is no such variant; the message names the nearest.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
                raise TypeError(f"the emulator has no option {name!r}{hint}")
        return cls(**values)
