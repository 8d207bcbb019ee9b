"""The few routines whose speed decides, from the standard library or, when the extra ``speed`` is installed, in C.

    apply_mask      XOR of a payload with a frame's mask       websockets' own C routine
    base64_bytes    Base64 text to bytes, strictly             pybase64, or OpenSSL
    base64_text     bytes to Base64 text                       pybase64
    json_value      JSON text to values                        orjson

They give the same results; only the time differs. `pick` looks for them when the first connection is opened, so that
importing the package loads nothing of the kind; call the routines through this module, not by a name of your own.

OpenSSL needs no extra: the ssl module has it loaded. It decodes Base64 in a quarter of the time of binascii, which is
half of the work there is with a piece of speech.
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


def _openssl_bytes() -> Callable[[str | bytes], bytes] | None:
    """Return `_base64_bytes` by way of OpenSSL; None where the ssl module does not show its library, as on Windows.

    ``int EVP_DecodeBlock(unsigned char *to, const unsigned char *from, int n)`` writes three bytes for every four
    letters, zeros for padding, and answers how many. It passes over white space at both ends and takes ``=`` for a
    letter: what it took for less or for more than it should goes to binascii, which knows what to say about it.
    """
    try:
        import _ssl
        import ctypes

        # PyDLL keeps the interpreter locked: for these few microseconds it is not worth giving away.
        decode = ctypes.PyDLL(_ssl.__file__).EVP_DecodeBlock
    except (ImportError, AttributeError, OSError, MemoryError):
        return None
    decode.argtypes, decode.restype = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int), ctypes.c_int

    def base64_bytes(text: str | bytes) -> bytes:
        size = len(text)
        if not _WORTH_A_CALL <= size <= _MOST_AT_ONCE or size % 4:
            return _base64_bytes(text)
        data = text if type(text) is bytes else text.encode("ascii", "replace")  # type: ignore[union-attr]
        most = size // 4 * 3
        made = bytes(most)  # written to while nobody else has seen it, as every function in C fills what it returns
        if decode(made, data, size) == most:
            end = data.find(b"=")
            if end < 0:
                return made
            if end >= size - 2 and data.endswith(b"="):
                return made[: most - size + end]
        return _base64_bytes(text)

    text = base64.b64encode(bytes(range(256)) * 3)  # every letter; nothing is believed that was not seen once
    made = bytes(768)
    return base64_bytes if decode(made, text, 1024) == 768 and made == _a2b(text) else None


_a2b = binascii.a2b_base64
_WORTH_A_CALL, _MOST_AT_ONCE = 1024, 1 << 30  # letters; a call takes a microsecond, and a length has 31 bits
_base64_text = functools.partial(binascii.b2a_base64, newline=False)
_PADDING: dict[type, Any] = {str: "=", bytes: b"="}


apply_mask: Callable[[bytes, bytes], bytes] = _apply_mask
base64_bytes: Callable[[str | bytes], bytes] = _base64_bytes
base64_text: Callable[[Any], bytes] = _base64_text
json_value: Callable[[str], Any] | None = None

_picked: tuple[str, ...] | None = None


def pick() -> tuple[str, ...]:
    """Take what is there, once; returns the names of what is used."""
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
        openssl = _openssl_bytes()
        if openssl is not None:
            base64_bytes = openssl
            found.append("openssl")
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
