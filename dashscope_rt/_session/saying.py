"""The part of a session that sends: audio, pictures, text, items, requests; any thread."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from .. import codec, config
from .. import events as ev
from ..audio.pacing import Pacer
from ..audio.pcm import silence
from ..audio.wav import Wav, is_wav
from ..config import SessionConfig
from ..errors import UnsupportedByModel
from ..images import Image, prepare
from ..tools import Tool, divided
from .held import Held
from .playing import Outlet
from .sources import Progress
from .streaming import stream

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_R = ord("R")  # how a WAV file begins
_APPEND_LIMIT = 1024 * 1024  # bytes of raw audio in one event; the service's own limit is 15 MiB of Base64
_log = logging.getLogger("dashscope_rt")


class Saying(Held):
    """What a session says to the service; what each method may raise is written in `RealtimeSession`."""

    def append_audio(self, audio: Buffer) -> str:
        """Send a piece of the user's audio. Source: client events, input_audio_buffer.append.

        Args:
            audio: Bytes, or anything with a buffer (array, numpy): raw samples in the configured format (default:
                signed 16-bit little-endian, mono, 16,000 Hz);
                100 ms, 3,200 bytes, is customary. Never Base64. In VAD mode keep sending silence between utterances,
                or the service never notices the end of one.

        Returns:
            The event's id, of the last event if the piece was so large that it was cut.

        Raises:
            TypeError: A str was given.
            ValueError: It is empty, ends in the middle of a sample, or is a whole WAV file.
        """
        view = _bytes_of(audio)
        if not view:
            raise ValueError("append_audio got no bytes; leave the call out, or send silence")
        if view[0] == _R and is_wav(view[:12]) and self._input_type() != "wav":
            raise ValueError(
                "append_audio takes raw samples, and this is a WAV file: use session.ask(audio=path) or read_wav"
            )
        if len(view) % 2 and self._input_type() in ("pcm", "pcm16"):
            raise ValueError(f"append_audio got {len(view)} bytes, which ends in the middle of a 16-bit sample")
        connection = self._open_connection()
        if len(view) <= _APPEND_LIMIT:
            return connection.put_audio(view)
        return connection.put_audio_pieces([view[at : at + _APPEND_LIMIT] for at in range(0, len(view), _APPEND_LIMIT)])

    def stream_audio(
        self,
        source: str | os.PathLike[str] | bytes | Wav | Iterable[bytes],
        *,
        pace: bool = True,
        tail_ms: float | None = None,
        progress: Progress | None = None,
    ) -> float:
        """Send audio as if it were spoken, and return when all of it is on its way.

        Args:
            source: An audio file's path or bytes (16-bit WAV; FLAC, OGG, MP3 and more with the extra ``audio``), a
                `Wav`, raw samples, an iterable of raw samples, or an open `Microphone` (until that is closed). Stereo
                becomes mono, and another rate is converted with the extra ``audio``.
            pace: In real time; False sends as fast as the network takes it. A microphone has a pace of its own.
            tail_ms: Silence after it. None takes what the service needs to notice the end of speech in VAD mode (the
                configured silence and half a second), and nothing in manual mode.
            progress: Called after every piece, on the calling thread, with the ms sent so far and the ms in all (None
                where the length is not known). It may raise to stop.

        Returns:
            How much was sent, in ms, silence included.

        Raises:
            ValueError: It cannot be read, or needs the extra ``audio``; nothing was sent.
            OSError: A file cannot be read.
        """
        self._open_connection()
        return stream(self, source, pace=pace, tail_ms=tail_ms, progress=progress, pacer=Pacer())

    def append_image(self, image: Image, *, newest_only: bool = False) -> str:
        """Send a picture or a video frame. Source: client events, input_image_buffer.append.

        It is looked at together with the audio of the same turn, which must come first: where none was appended since
        the last turn was committed or cleared, silence is sent first (and logged at INFO).

        Args:
            image: A file's bytes, its path, a binary file object, a Pillow image, or a numpy array (uint8; height x
                width, or with 3 RGB or 4 RGBA channels); about one per second at the most. JPEG up to 1080p goes as it
                is; the extra ``images`` makes everything else into that and honours EXIF orientation.
            newest_only: For video: a picture that has not left yet makes room for this one (``stats.frames_replaced``).

        Raises:
            UnsupportedByModel: This model takes no pictures.
            ValueError: Not a JPEG, or too large, and without the extra ``images``; or no picture at all.
        """
        if not self.model.images and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} takes no pictures; use a model of the Omni family")
        connection = self._open_connection()
        jpeg = prepare(image, self.model.max_image_base64_bytes)
        event = ev.InputImageBufferAppend(event_id=connection.next_id(), image=jpeg)
        if not connection.has_audio:
            # A turn of nothing but pictures must be long enough to be committed; the VAD commits only speech.
            lead_ms = 100 if self.uses_vad else 1000
            _log.info("no audio yet in this turn: %d ms of silence go before the picture, which must not lead", lead_ms)
            connection.put_audio(silence(lead_ms, self.input_rate))
        return connection.send(event, newest_only=newest_only)

    def commit(self) -> str:
        """End the user's turn (manual mode). Source: client events, input_audio_buffer.commit.

        Creates the user's item; ask for an answer with `create_response`. The service refuses a turn that is too short
        ("buffer too small": below 100 ms, and up to 300 ms were seen); its audio then stays, see `clear_audio`.

        Raises:
            ValueError: The session is in VAD mode: the service ends the turns itself, and answers a commit with an
                internal error, sometimes with the end of the session.
        """
        connection = self._open_connection()
        if self.uses_vad and self.model.creates_responses and not self._allow_unsupported:
            raise ValueError(
                "in VAD mode the service ends the turns itself; for commit() open the session with turn_detection=None"
            )
        return connection.send(ev.InputAudioBufferCommit(event_id=connection.next_id()))

    def clear_audio(self) -> str:
        """Throw away what was appended and not committed. Source: client events, input_audio_buffer.clear."""
        connection = self._open_connection()
        return connection.send(ev.InputAudioBufferClear(event_id=connection.next_id()))

    def create_response(
        self, *, instructions: str | None = None, modalities: Iterable[str] | None = None, **fields: Any
    ) -> str:
        """Ask for an answer. Source: client events, response.create.

        It goes out at once, or as soon as the running response is over and the user does not speak: the service
        refuses overlapping ones.

        Args:
            instructions: For this answer only.
            modalities: ``["text"]`` or ``["text", "audio"]``, for this answer only.
            **fields: Further fields of the wire's ``response`` object, sent as they are.

        Raises:
            UnsupportedByModel: This family answers by itself.
        """
        if not self.model.creates_responses and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} has no response.create: it answers by itself")
        connection = self._open_connection()
        body: dict[str, Any] = dict(fields)
        if instructions is not None:
            body["instructions"] = instructions
        if modalities is not None:
            body["modalities"] = list(modalities)
        event = ev.ResponseCreate(event_id=connection.next_id(), response=body or None)
        return connection.create(event).command.event_id

    def cancel_response(self, timeout: float | None = None) -> bool:
        """Stop the running answer. Source: client events, response.cancel.

        Waits until the service has taken it: some models never send the ``response.done`` of a cancelled response,
        then it counts as over after ``Timeouts.cancel`` and ``on_done`` gets it with the status ``cancelled``.

        Args:
            timeout: Seconds to wait; None takes ``Timeouts.cancel``, 0 does not wait.

        Returns:
            Whether something was cancelled; False (and no error) when nothing ran.
        """
        return self._open_connection().cancel(self.timeouts.cancel if timeout is None else timeout)

    def interrupt(self, *, cancel: bool | None = None) -> bool:
        """Let the user have the word: nothing more is heard of any answer, whatever else the service sends of it.

        The `Speaker` of `play_on` is silent within one block of its device, and ``on_interrupted`` is called. In VAD
        mode the same happens by itself when the service hears speech.

        Args:
            cancel: Also stop the answer at the service, without waiting for that; None does so in manual mode and
                leaves it to the service in VAD mode.

        Returns:
            Whether there was an answer to interrupt.
        """
        return self._open_connection().interrupt(cancel=not self.uses_vad if cancel is None else cancel)

    def play_on(self, speaker: Outlet | None) -> None:
        """Let a speaker play the answers as they come, and fall silent when the user interrupts.

        It is fed before callbacks run, so no callback can make it late. `Response.heard_ms` and `Turn.heard_ms` then
        say how much was really heard. The speaker stays yours: open it and close it.

        Args:
            speaker: A `Speaker`, or anything with its ``write``, ``end``, ``stop``, ``unheard``, ``heard_ms`` and
                ``given_ms``, none of which may wait; None: nobody plays any more.
        """
        self._outlet = speaker
        connection = self._connection
        if connection is not None and self._pid == os.getpid():
            with connection.changed:
                connection.state.playing.outlet = speaker

    def create_item(self, item: Mapping[str, Any]) -> str:
        """Add an item to the conversation. Source: client events, conversation.item.create.

        Args:
            item: As the wire wants it, for example ``{"type": "function_call_output", "call_id": …, "output": …}``.
                Omni replaces ids chosen by the client.
        """
        connection = self._open_connection()
        return connection.send(ev.ConversationItemCreate(event_id=connection.next_id(), item=dict(item)))

    def send_text(self, text: str) -> str:
        """Say something in writing, as the user; ask for the answer with `create_response`.

        Source: realtime guide (plain text input), verified by third parties on 3.5 and 3.8.

        Raises:
            UnsupportedByModel: This model takes no text items; `ask` knows the way for it.
        """
        if not self.model.text_input and not self._allow_unsupported:
            raise UnsupportedByModel(
                f"{self.model.name} takes no text items; use session.ask(text=…), which gives it as instructions, or"
                " a model of the 3.5 or 3.8 family"
            )
        content = [{"type": "input_text", "text": text}]
        return self.create_item({"type": "message", "role": "user", "content": content})

    def update(self, changes: SessionConfig | None = None, **fields: Any) -> str:
        """Change the configuration; sends only what is named. Source: client events, session.update.

        Args:
            changes: A `SessionConfig`, or
            **fields: its fields: ``session.update(instructions="Be brief.")``; None is sent as null. ``tools`` is the
                whole list, functions among them; what is not in it is not called any more.

        Returns:
            The event's id; ``session.wait_ack(event_id)`` waits for ``session.updated`` or raises what was refused.

        Raises:
            ValueError: A value is outside its documented range; nothing was sent.
            UnsupportedByModel: The model cannot do that; nothing was sent.
            TypeError: There is no such field; the message names the nearest.
        """
        functions: list[Tool] = []
        if fields.get("tools") is not None:
            fields["tools"], functions = divided(fields["tools"])
        named = changes if changes is not None and not fields else SessionConfig.of(**fields)
        if changes is not None and fields:
            named = config.merge(changes, named)
        merged = config.merge(self._config, named)
        if not self._allow_unsupported:
            config.check(merged, self.model)
        wire = codec.config_to_wire(named, self.model)
        if not wire:
            raise ValueError("update() names no field; nothing was sent")
        connection = self._open_connection()
        self._toolbox.add(functions)
        before, self._config = self._config, merged

        def undo() -> None:  # network thread: a refused change must not be repeated by the next connection
            if self._config is merged:
                self._config = before

        return connection.send(ev.SessionUpdate(event_id=connection.next_id(), session=wire), on_refusal=undo)

    def finish(self, timeout: float | None = None) -> None:
        """Say that no more input comes, and wait for what is still to come. Source: session.finish.

        For LiveTranslate, ASR and TTS; the session stays open for reading until ``session.finished``, then `close` it.

        Raises:
            UnsupportedByModel: Omni has no session.finish: just close.
            DeadlineExceeded: ``session.finished`` did not come in time (None takes ``Timeouts.finish``).
        """
        if not self.model.session_finish and not self._allow_unsupported:
            raise UnsupportedByModel(f"{self.model.name} has no session.finish; close() the session")
        connection = self._open_connection()
        deadline = time.monotonic() + (self.timeouts.finish if timeout is None else timeout)
        connection.send(ev.SessionFinish(event_id=connection.next_id()))
        connection.wait_until(lambda: connection.state.finished, deadline, "session.finished")

    def send(self, event: ev.ClientEvent) -> str:
        """Send any client event; an id is added when it has none.

        ``response.create`` waits its turn like `create_response`.
        """
        connection = self._open_connection()
        if not event.event_id:
            event = attrs.evolve(event, event_id=connection.next_id())
        if isinstance(event, ev.ResponseCreate):
            return connection.create(event).command.event_id
        return connection.send(event)

    def send_raw(self, event: Mapping[str, Any]) -> str:
        """Send a dict as it is, for events this package does not know; an ``event_id`` is added when it has none.

        Raises:
            ValueError: It has no ``type``, or cannot be written as JSON.
        """
        connection = self._open_connection()
        whole = {**event} if event.get("event_id") else {**event, "event_id": connection.next_id()}
        return connection.put(codec.encode_raw(whole), str(whole.get("type", "")), str(whole["event_id"]))


def _bytes_of(audio: Buffer) -> memoryview:
    try:
        return memoryview(audio).cast("B")
    except TypeError:
        kind = "text, and never Base64" if isinstance(audio, str) else f"{type(audio).__name__} of this layout"
        raise TypeError(f"audio must be bytes of samples in one piece, not {kind}") from None
