"""What the client has appended: bytes in the configured format in, mono samples with a running position out."""

from __future__ import annotations

from array import array

from ._sound import SAMPLE_BYTES, mono, pcm_of, samples
from ._wire import invalid

_WAV_HEADER_LIMIT = 4096  # a header that has not reached its data by then is none


class AudioBuffer:
    """The input audio buffer.

    Positions are in samples since the first sample of the session, whatever was committed or dropped in between.

    Args:
        kind: ``pcm`` (also ``pcm16``) or ``wav``. In a WAV stream each append that begins with ``RIFF`` starts a new
            file, so one file in pieces works, and so does a small file per append.
        rate: Hz; a WAV file must agree.
        channels: Interleaved channels, averaged to one; a WAV file's header overrides it.
        start: The position of the next sample.
    """

    def __init__(self, kind: str = "pcm", rate: int = 16000, channels: int = 1, start: int = 0) -> None:
        self.kind = kind
        self.rate = rate
        self.channels = channels
        self.end = start
        self._samples: array[int] = array("h")
        self._odd = b""
        self._header: bytes | None = None
        self.appended = False  # since the last commit or clear; an image needs it

    @property
    def start(self) -> int:
        """The position of the oldest sample still held."""
        return self.end - len(self._samples)

    @property
    def duration_ms(self) -> int:
        """How much is held, ms."""
        return len(self._samples) * 1000 // self.rate

    def ms(self, position: int) -> int:
        """A position in ms since the first sample of the session."""
        return position * 1000 // self.rate

    def append(self, data: bytes) -> array[int]:
        """Add what the client sent; gives the new mono samples.

        Raises:
            Refusal: It is no WAV data although that is the format.
        """
        if self.kind == "wav":
            data = self._without_header(data)
        data = self._odd + data
        frame = SAMPLE_BYTES * self.channels
        whole = len(data) - len(data) % frame
        self._odd = data[whole:]
        new = mono(samples(data[:whole]), self.channels)
        self._samples.extend(new)
        self.end += len(new)
        self.appended = True
        return new

    def cut(self, first: int, last: int) -> bytes:
        """The mono s16le bytes between two positions, as far as they are held."""
        return pcm_of(self._samples[max(0, first - self.start) : max(0, last - self.start)])

    def drop_before(self, position: int) -> None:
        """Forget what came before a position."""
        if position > self.start:
            del self._samples[: position - self.start]

    def clear(self) -> None:
        """Forget everything; the position goes on."""
        del self._samples[:]
        self._odd = b""
        self._header = None
        self.appended = False

    def _without_header(self, data: bytes) -> bytes:
        first = not self.appended and not self._samples
        if self._header is None and (data[:4] == b"RIFF" or (first and b"RIFF".startswith(data[:4]))):
            self._header = b""
            self._odd = b""
        elif self._header is None:
            if first:
                raise invalid(
                    "Invalid audio: the first chunk of a 'wav' stream must begin with a RIFF header.", "audio"
                )
            return data
        self._header += data
        found = _wav_data(self._header)
        if found is None:
            if len(self._header) > _WAV_HEADER_LIMIT:
                self._header = None
                raise invalid("Invalid audio: no 'data' chunk in the WAV header.", "audio")
            return b""
        place, channels, rate, bits = found
        data, self._header = self._header[place:], None
        if bits != 8 * SAMPLE_BYTES:
            raise invalid(f"Invalid audio: {bits}-bit samples. Supported values are: 16.", "audio")
        if rate != self.rate:
            raise invalid(f"Invalid audio: a WAV file of {rate} Hz. Supported values are: {self.rate}.", "audio")
        self.channels = channels
        return data


def _wav_data(header: bytes) -> tuple[int, int, int, int] | None:
    """Offset of the samples, channels, rate and bits; None while the header is not complete."""
    if len(header) >= 12 and header[8:12] != b"WAVE":
        raise invalid("Invalid audio: a RIFF file that is not WAVE.", "audio")
    place, found = 12, (1, 16000, 16)
    while place + 8 <= len(header):
        name = header[place : place + 4]
        length = int.from_bytes(header[place + 4 : place + 8], "little")
        if name == b"data":
            return place + 8, *found
        if name == b"fmt " and place + 24 <= len(header):
            part = header[place + 8 : place + 24]
            found = (
                max(1, int.from_bytes(part[2:4], "little")),
                max(1, int.from_bytes(part[4:8], "little")),
                int.from_bytes(part[14:16], "little"),
            )
        place += 8 + length + length % 2
    return None
