"""What the user says: the input buffer, images, manual commits and the turns that the VAD finds."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from . import _validation as check
from ._answers import spoken
from ._buffer import AudioBuffer
from ._context import Context, Turn
from ._images import jpeg_size
from ._responses import Responses
from ._transcription import Growing, delta
from ._vad import Edge, EnergyVad
from ._wire import empty_commit, image_before_audio, internal_error, invalid, make, missing

APPEND_LIMIT = 15 * 1024 * 1024
_PREVIEW_MS = 300
_TAIL_MS = 100  # kept after the last loud frame
_LOOK_BACK_MS = 200  # the VAD may say that speech began so long ago


class Turns:
    """The user's side of one session.

    Args:
        context: Shared with the session's other parts.
        responses: Told of every turn.
    """

    def __init__(self, context: Context, responses: Responses) -> None:
        self._context = context
        self._responses = responses
        responses.accept = self._accept
        self._buffer = AudioBuffer()
        self._vad: EnergyVad | None = None
        self._vad_settings: tuple[Any, ...] | None = None
        self._turn: Turn | None = None
        self._images: list[bytes] = []
        self._next_preview = 0
        self._repeats = 0
        self.configure()

    def configure(self) -> None:
        """The configuration has changed."""
        config = self._context.config
        form = config.input_format
        if not self._context.audio_started:
            self._buffer = AudioBuffer(form["type"], form["sample_rate"], form.get("channels", 1))
        detection = config.turn_detection
        settings = (
            None if detection is None else (self._buffer.rate, detection["threshold"], detection["silence_duration_ms"])
        )
        if settings is not None and (settings == self._vad_settings or self._turn is not None):
            return  # while the user speaks the old settings stay
        self._vad_settings = settings
        self._turn = None
        self._context.speaking = False
        self._vad = None if settings is None else EnergyVad(*settings, start=self._buffer.end)

    # Client events

    def append(self, event: Mapping[str, Any]) -> None:
        """``input_audio_buffer.append``.

        Raises:
            Refusal: No audio, no Base64, or too much of it.
        """
        data = _decode(event, "audio")
        if len(data) > APPEND_LIMIT:
            raise invalid(
                f"Invalid audio: {len(data)} bytes in one event. At most {APPEND_LIMIT} are allowed.", "audio"
            )
        new = self._buffer.append(data)
        self._context.audio_started = True
        if self._vad is None:
            return
        begun = False
        for edge in self._vad.feed(new):
            if edge.kind == "started":
                begun = True
                self._started(edge)
            elif self._turn is not None:
                self._stopped(self._turn, edge)
        if self._turn is not None:
            if self._repeats and not begun:
                self._repeats -= 1
                self._announce(self._turn)
            self._preview(self._turn, self._buffer.end)
        else:
            self.configure()  # what was changed while the user spoke
            keep = self._padding + self._samples(_LOOK_BACK_MS)
            self._buffer.drop_before(self._buffer.end - keep)

    def image(self, event: Mapping[str, Any]) -> None:
        """``input_image_buffer.append``.

        Raises:
            Refusal: No image, no JPEG, too large, or no audio came first.
        """
        info = self._context.info
        if not info.images:
            raise check.unsupported("image", info)
        encoded = event.get("image")
        limit = info.max_image_base64_bytes
        if isinstance(encoded, str) and limit is not None and len(encoded) > limit:
            raise invalid(f"Invalid image: {len(encoded)} bytes of Base64. At most {limit} are allowed.", "image")
        data = _decode(event, "image")
        if jpeg_size(data) is None:
            raise invalid("Invalid image: only JPEG is supported.", "image")
        if not self._buffer.appended:
            raise image_before_audio()
        self._images.append(data)

    def commit(self) -> None:
        """``input_audio_buffer.commit``.

        Raises:
            Refusal: Too little audio, or VAD mode.
        """
        if self._vad is not None:
            raise internal_error(self._context.variants.commit_in_vad_closes)
        buffer = self._buffer
        if buffer.duration_ms < self._context.variants.min_commit_ms:
            raise empty_commit()
        turn = self._new_turn(buffer.start)
        turn.audio, turn.images = buffer.cut(buffer.start, buffer.end), self._images
        self._images = []
        buffer.clear()
        self._accept(turn)
        self._responses.add_turn(turn)

    def clear(self) -> None:
        """``input_audio_buffer.clear``; also forgets the images and speech that had begun."""
        self._buffer.clear()
        self._images = []
        self._turn = None
        self._context.speaking = False
        self._vad_settings = None
        self.configure()
        self._context.emit(make("input_audio_buffer.cleared"))

    def flush(self) -> None:
        """End the turn that is going on, for ``session.finish``."""
        if self._turn is not None:
            self._stopped(self._turn, Edge("stopped", self._buffer.end, self._buffer.end))
            self._vad_settings = None
            self.configure()

    # Turns

    @property
    def _padding(self) -> int:
        detection = self._context.config.turn_detection
        return self._samples(detection["prefix_padding_ms"]) if detection else 0

    def _samples(self, ms: int) -> int:
        return self._buffer.rate * ms // 1000

    def _new_turn(self, first: int) -> Turn:
        return Turn(first, self._buffer.rate, self._buffer.channels)

    def _started(self, edge: Edge) -> None:
        first = max(self._buffer.start, edge.at - self._padding)
        self._turn = turn = self._new_turn(first)
        expected = self._context.answers.expected_transcript()
        turn.growing = Growing(turn.item_id, expected) if expected else None
        self._next_preview = edge.noticed + self._samples(_PREVIEW_MS)
        self._repeats = self._context.variants.repeat_speech_started
        self._context.speaking = True
        self._announce(turn)
        detection = self._context.config.turn_detection
        if detection is not None and detection["interrupt_response"]:
            self._responses.interrupt()

    def _announce(self, turn: Turn) -> None:
        start = self._buffer.ms(turn.first)
        self._context.emit(make("input_audio_buffer.speech_started", audio_start_ms=start, item_id=turn.item_id))

    def _preview(self, turn: Turn, until: int) -> None:
        context = self._context
        while self._next_preview <= until:
            if context.config.semantic and context.variants.semantic_early_item:
                self._show(turn)
            if context.previews:
                event = turn.growing.next() if turn.growing is not None else None
                if context.answers.counts_seconds:
                    seconds = (self._next_preview - turn.first) / turn.rate
                    event = delta(turn.item_id, "", spoken(seconds))
                    turn.counted = True
                if event is not None:
                    context.emit(event)
            self._next_preview += self._samples(_PREVIEW_MS)

    def _stopped(self, turn: Turn, edge: Edge) -> None:
        self._preview(turn, edge.at)
        buffer = self._buffer
        self._turn = None
        self._context.speaking = False
        turn.audio = buffer.cut(turn.first, min(edge.at + self._samples(_TAIL_MS), edge.noticed))
        turn.images, self._images = self._images, []
        buffer.drop_before(edge.noticed)
        buffer.appended = False
        end = buffer.ms(edge.noticed)
        self._context.emit(make("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=turn.item_id))
        self._responses.turn_ended(turn)

    def _accept(self, turn: Turn) -> None:
        self._context.emit(make("input_audio_buffer.committed", item_id=turn.item_id))
        self._show(turn)

    def _show(self, turn: Turn) -> None:
        if turn.shown:
            return
        turn.shown = True
        item = {
            "id": turn.item_id,
            "object": "realtime.item",
            "type": "message",
            "status": "in_progress",
            "role": self._context.variants.user_item_role,
            "content": [{"type": "input_audio"}],
        }
        self._context.emit(make("conversation.item.created", item=item))


def _decode(event: Mapping[str, Any], param: str) -> bytes:
    if param not in event:
        raise missing(param)
    text = check.text(event[param], param)
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise invalid(f"Invalid value for '{param}': not valid Base64.", param) from exc
    if not data:
        raise invalid(f"Invalid value for '{param}': it is empty.", param)
    return data
