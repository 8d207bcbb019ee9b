"""The few routines whose speed decides, from the standard library or, when the extra ``speed`` is installed, in C.

    apply_mask      XOR of a payload with a frame's mask       websockets' own C routine
    base64_bytes    Base64 text to bytes, strictly             pybase64
    base64_text     bytes to Base64 text                       pybase64
    json_value      JSON text to values                        orjson

They give the same results; only the time differs. `pick` looks for them when the first connection is opened, so that
importing the package loads nothing of the kind; call the routines through this module, not by a name of your own.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable
from typing import Any


def _apply_mask(payload: bytes, mask: bytes) -> bytes:
    # One XOR of two long numbers. The mask is repeated by a multiplication, which is quicker than reading it as text.
    size = len(payload)
    words = (size + 3) // 4
    ones = _ones.get(words)
    if ones is None:
        ones = int.from_bytes(b"\1\0\0\0" * words, "little")
        if words <= _REMEMBERED_WORDS:
            if len(_ones) >= _REMEMBERED:
                _ones.clear()
            _ones[words] = ones
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little") * ones
    return masked.to_bytes(4 * words, "little")[:size]


_REMEMBERED, _REMEMBERED_WORDS = 32, 4096  # numbers, which are as long as the payloads: half a megabyte at the most
_ones: dict[int, int] = {}  # number of words -> 1 in each of them; benign race


def _base64_bytes(text: str | bytes) -> bytes:
    made = _a2b(text)
    # a2b_base64 passes over what is not Base64, and what it passed over is missing from the length.
    missing = len(text) * 3 - len(made) * 4  # quarters of a byte; 0 for the pieces of sound that come by the thousand
    if missing == 0:
        return made
    if missing % 4 == 0 and missing // 4 == len(text) - len(text.rstrip(_PADDING[type(text)])) <= 2:
        return made
    return base64.b64decode(text, validate=True)


_a2b = binascii.a2b_base64
_base64_text = functools.partial(binascii.b2a_base64, newline=False)
_PADDING: dict[type, Any] = {str: "=", bytes: b"="}


apply_mask: Callable[[bytes, bytes], bytes] = _apply_mask
base64_bytes: Callable[[str | bytes], bytes] = _base64_bytes
base64_text: Callable[[Any], bytes] = _base64_text
json_value: Callable[[str], Any] | None = None

_picked: tuple[str, ...] | None = None


def pick() -> tuple[str, ...]:
    """Take what is installed, once; returns the names of the packages that are used."""
    global apply_mask, base64_bytes, base64_text, json_value, _picked  # noqa: PLW0603 — what it is for
    if _picked is not None:
        return _picked
    found = []
    try:
        from websockets.speedups import apply_mask as fast_mask
    except ImportError:
        pass
    else:
        apply_mask = fast_mask
        found.append("websockets")
    try:
        import pybase64
    except ImportError:
        pass
    else:
        base64_bytes = lambda text: pybase64.b64decode(text, None, True)  # noqa: E731
        base64_text = pybase64.b64encode
        found.append("pybase64")
    try:
        import orjson
    except ImportError:
        pass
    else:
        json_value = orjson.loads
        found.append("orjson")
    _picked = tuple(found)
    return _picked


def forget() -> None:
    """Go back to the standard library, for tests and comparisons; the next `pick` finds nothing new."""
    global apply_mask, base64_bytes, base64_text, json_value, _picked
    apply_mask, base64_bytes, base64_text, json_value, _picked = _apply_mask, _base64_bytes, _base64_text, None, ()
