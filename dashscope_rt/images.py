"""Pictures on their way in: JPEG checks with the standard library. Beside the tower; no socket and no thread."""

from __future__ import annotations

import os
from pathlib import Path

Image = bytes | bytearray | memoryview | str | os.PathLike[str]


def read_jpeg(image: Image, max_base64_bytes: int | None) -> bytes:
    """Return a JPEG's bytes, checked.

    Args:
        image: The file's bytes, or its path.
        max_base64_bytes: What the model takes, counted as Base64 text (4 bytes for every 3).

    Raises:
        ValueError: It is not a JPEG, or it is too large; the message says what to do.
        OSError: The file cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        name, data = os.fspath(image), Path(image).read_bytes()
    else:
        name, data = "the picture", bytes(image)
    if data[:3] != b"\xff\xd8\xff":
        raise ValueError(f"{name} is {_kind(data)}; the service takes JPEG only: convert it first")
    size = (len(data) + 2) // 3 * 4
    if max_base64_bytes is not None and size > max_base64_bytes:
        raise ValueError(
            f"{name} has {len(data):,} bytes; this model takes at most {max_base64_bytes // 4 * 3:,}"
            f" ({max_base64_bytes:,} as Base64): make it smaller, 480p to 720p is advised"
        )
    return data


def _kind(data: bytes) -> str:
    for magic, name in ((b"\x89PNG", "a PNG"), (b"GIF8", "a GIF"), (b"RIFF", "a WebP"), (b"BM", "a BMP")):
        if data.startswith(magic):
            return name
    return "no JPEG" if data else "empty"
