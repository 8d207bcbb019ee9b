"""What a person hears of the answers: between the state, which knows them, and a speaker, which plays them.

Called by the state, on the network thread, before user code sees the event: a callback that takes its time cannot make
the speaker fall silent late. Pure but for the speaker, whose methods return at once.

An answer is *interrupted* when the user speaks, when `RealtimeSession.interrupt` or a cancel asks for it, or when the
service cuts it off. From then on none of it sounds, whatever the service still sends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, Protocol

import attrs

from .. import events as ev
from ..audio.wav import is_wav, read_wav
from ..responses import Interruption, Response

_log = logging.getLogger("dashscope_rt")


class Outlet(Protocol):
    """What plays answers: a `Speaker`, or anything like it. Sources are the ids of responses; nothing here waits."""

    def write(self, pcm: bytes, source: str = "", rate: int | None = None) -> bool:
        """Let mono PCM sound after what is there; returns whether it will."""

    def end(self, source: str = "") -> None:
        """A source is complete."""

    def stop(self, source: str | None = None) -> list[str]:
        """Silence a source at once and for good."""

    def unheard(self) -> list[str]:
        """The sources of which something is still to sound."""

    def heard_ms(self, source: str = "") -> float:
        """How much of a source was really heard until now."""

    def given_ms(self, source: str = "") -> float:
        """How much of it will have been heard when it is silent."""


@attrs.frozen
class Cut:
    """An answer was interrupted."""

    interruption: Interruption


@attrs.frozen
class Late:
    """The event is a piece of audio of an answer that was interrupted before."""


LATE: Final = Late()
_REMEMBERED = 64  # interrupted responses whose late audio is known as such


class Playing:
    """The answers on their way to an ear; the connection's lock is held by whoever calls.

    Attributes:
        outlet: What plays them; None: the session's user does that, or nobody.
    """

    def __init__(self) -> None:
        self.outlet: Outlet | None = None
        self._given: dict[str, Response] = {}  # to the outlet, and not known to have been heard to its end
        self._late: deque[str] = deque(maxlen=_REMEMBERED)

    def take(self, response: Response | None, event: ev.ResponseAudioDelta) -> bool:
        """Play a piece of audio; returns False when it is late."""
        if self._late and event.response_id in self._late:
            return False
        outlet = self.outlet
        if outlet is None or response is None:
            return True
        try:
            data = event.audio
            pcm = read_wav(data).pcm if is_wav(data) else data
        except ValueError as error:  # whoever reads the event's audio is told as well
            _log.warning("a piece of the answer cannot be played: %s", error)
            return True
        if outlet.write(pcm, response.id, response.audio_rate) and response.id not in self._given:
            self._given[response.id] = response
            response._played_by(outlet.heard_ms)
        return True

    def finish(self, response: Response) -> None:
        """No more comes of a response."""
        if self.outlet is not None:
            self.outlet.end(response.id)

    def begin(self) -> None:
        """A new response begins: forget those that were heard to their end."""
        if self.outlet is not None and self._given:
            unheard = self.outlet.unheard()
            self._given = {
                name: response for name, response in self._given.items() if response.done_at is None or name in unheard
            }

    def cut(
        self,
        running: Iterable[Response],
        by: Literal["speech", "client", "service"],
        *,
        sounding: bool = True,
    ) -> list[Cut]:
        """Interrupt responses.

        Args:
            running: Those that are under way and meant.
            by: Who wants it.
            sounding: Also those that are complete, but not heard to their end.
        """
        outlet = self.outlet
        meant = {response.id: response for response in running}
        if outlet is not None and sounding:
            unheard = outlet.unheard()
            meant.update((name, response) for name, response in self._given.items() if name in unheard)
        cuts = []
        for name, response in meant.items():
            if response.interrupted:
                continue
            response.interrupted = True
            self._late.append(name)
            if outlet is not None:
                outlet.stop(name)
            heard = None if outlet is None else outlet.given_ms(name)
            text = None if heard is None else response.text_until(heard)
            cuts.append(Cut(Interruption(response=response, by=by, heard_ms=heard, heard_text=text)))
        return cuts
