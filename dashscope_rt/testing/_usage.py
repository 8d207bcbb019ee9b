"""Token counts from what was really heard and said, at the documented rates.

Text counts a token for four characters, Chinese, Japanese and Korean one for each. The whole history is billed again
with every response, as the service does. Sources: models and prices; client events (channels, video).
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from ._images import jpeg_size

# tokens per second of input and of output audio, pixels per side of an image token
_RATES = {"omni-turbo": (25.0, 25.0, 28), "qwen3-omni": (12.5, 12.5, 32)}
_NEWEST_RATES = (7.0, 12.5, 32)
_IMAGE_LEAST, _IMAGE_MOST = 4, 1280


def text_tokens(text: str) -> int:
    """Tokens of a text; at least 1 unless it is empty."""
    wide = sum(1 for character in text if unicodedata.east_asian_width(character) in "WF")
    return wide + math.ceil((len(text) - wide) / 4)


def image_tokens(image: bytes, patch: int = 32) -> int:
    """Tokens of one JPEG: one for each square of ``patch`` pixels, from 4 to 1,280."""
    width, height = jpeg_size(image) or (0, 0)
    return min(_IMAGE_MOST, max(_IMAGE_LEAST, math.ceil(width / patch) * math.ceil(height / patch)))


@dataclass
class Ledger:
    """The history of one session in tokens."""

    family: str
    text: int = 0
    audio: int = 0
    image: int = 0
    _rates: tuple[float, float, int] = field(init=False)

    def __post_init__(self) -> None:
        self._rates = _RATES.get(self.family, _NEWEST_RATES)

    def hear(self, seconds: float, channels: int) -> None:
        """Speech of the user; less than a second counts as one, several channels count double."""
        if seconds > 0:
            self.audio += math.ceil(max(1.0, seconds) * self._rates[0]) * (2 if channels > 1 else 1)

    def see(self, image: bytes, compact: bool) -> None:
        """A picture; compact representation costs a quarter."""
        tokens = image_tokens(image, self._rates[2])
        self.image += max(1, tokens // 4) if compact else tokens

    def read(self, text: str) -> None:
        """Text of either side that stays in the history."""
        self.text += text_tokens(text)

    def usage(self, instructions: str, said: str, audio_s: float, searched: bool) -> dict[str, Any]:
        """The ``usage`` object of one response; call it before `read` takes the answer in."""
        into = {"text_tokens": self.text + text_tokens(instructions), "audio_tokens": self.audio}
        if self.image:
            into["image_tokens"] = self.image
        out = {"text_tokens": text_tokens(said)}
        if audio_s > 0:
            out["audio_tokens"] = math.ceil(max(1.0, audio_s) * self._rates[1])
        usage: dict[str, Any] = {
            "total_tokens": sum(into.values()) + sum(out.values()),
            "input_tokens": sum(into.values()),
            "output_tokens": sum(out.values()),
            "input_tokens_details": into,
            "output_tokens_details": out,
        }
        if searched:
            usage["plugins"] = {"search": {"count": 1, "strategy": "agent"}}
        return usage
