"""Pictures on their way in: JPEG within the service's limits. Beside the tower; no socket and no thread.

standard library only     JPEG files are checked and go as they are; the rest is refused with what to do
extra ``images``          other formats, large pictures, EXIF orientation, Pillow images, numpy arrays
"""

from __future__ import annotations

import importlib
import io
import os
import struct
from pathlib import Path
from typing import Any, BinaryIO

Image = bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO | Any  # Any: Pillow image, numpy array

LONG_SIDE, SHORT_SIDE = 1920, 1080  # pixels. Source: client events, input_image_buffer.append (up to 1080p)
_QUALITIES = (85, 70, 55, 40)
_FRAME_MARKERS = frozenset({*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_INSTALL = 'pip install "dashscope_rt[images]"'


def prepare(image: Image, max_base64_bytes: int | None) -> bytes:
    """Return a picture as a JPEG that the service takes.

    Args:
        image: A file's bytes, its path, a binary file object, a Pillow image, or a numpy array (uint8; height x
            width, or with 3 RGB or 4 RGBA channels; OpenCV's BGR must be turned around first).
        max_base64_bytes: What the model takes, counted as Base64 text (4 bytes for every 3).

    Raises:
        ValueError: It is no picture, or the extra ``images`` is needed and not installed; the message says what to do.
        OSError: The file cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        name, data = os.fspath(image), Path(image).read_bytes()
    elif isinstance(image, (bytes, bytearray, memoryview)) and getattr(image, "ndim", 1) == 1:
        name, data = "the picture", bytes(image)
    elif hasattr(image, "read"):
        name, data = str(getattr(image, "name", "the picture")), image.read()
    else:
        return _encoded(_opened(image), max_base64_bytes)
    problem = _problem(name, data, max_base64_bytes)
    if problem is None and not _turned(data):
        return data
    pillow = _pillow()
    if pillow is None:
        if problem is None:
            return data  # it lies on its side, which only Pillow can mend
        raise ValueError(f"{problem}; or let it be done: {_INSTALL}")
    try:
        picture = pillow.open(io.BytesIO(data))
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for broken files
        raise ValueError(problem or f"{name} cannot be read: {error}") from None
    return _encoded(picture, max_base64_bytes)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return a JPEG's width and height in pixels as stored; None where its header does not say."""
    for marker, body in _segments(data):
        if marker in _FRAME_MARKERS and len(body) >= 5:
            height, width = struct.unpack_from(">HH", body, 1)
            return width, height
    return None


def _segments(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = struct.unpack_from(">H", data, at + 2)[0]
        found.append((data[at + 1], data[at + 4 : at + 2 + size]))
        at += 2 + size
    return found


def _problem(name: str, data: bytes, max_base64_bytes: int | None) -> str | None:
    if data[:3] != b"\xff\xd8\xff":
        return f"{name} is {_kind(data)}; the service takes JPEG only: convert it first"
    size = (len(data) + 2) // 3 * 4
    if max_base64_bytes is not None and size > max_base64_bytes:
        return (
            f"{name} has {len(data):,} bytes; this model takes at most {max_base64_bytes // 4 * 3:,}"
            f" ({max_base64_bytes:,} as Base64): make it smaller, 480p to 720p is advised"
        )
    pixels = jpeg_size(data)
    if pixels is not None and (max(pixels) > LONG_SIDE or min(pixels) > SHORT_SIDE):
        return f"{name} has {pixels[0]:,} x {pixels[1]:,} pixels; the service takes up to 1080p: make it smaller"
    return None


def _turned(data: bytes) -> bool:
    # Whether the EXIF orientation is another than upright.
    for marker, body in _segments(data):
        if marker == 0xE1 and body[:6] == b"Exif\0\0" and len(body) >= 14:
            tiff = body[6:]
            order = "<" if tiff[:2] == b"II" else ">"
            at = struct.unpack_from(order + "I", tiff, 4)[0]
            if at + 2 > len(tiff):
                return False
            for entry in range(struct.unpack_from(order + "H", tiff, at)[0]):
                place = at + 2 + entry * 12
                if place + 10 <= len(tiff) and struct.unpack_from(order + "H", tiff, place)[0] == 0x0112:
                    return bool(struct.unpack_from(order + "H", tiff, place + 8)[0] != 1)
    return False


def _kind(data: bytes) -> str:
    for magic, name in ((b"\x89PNG", "a PNG"), (b"GIF8", "a GIF"), (b"RIFF", "a WebP"), (b"BM", "a BMP")):
        if data.startswith(magic):
            return name
    return "no JPEG" if data else "empty"


# ---- with Pillow ----------------------------------------------------------------------------------------------


def _pillow() -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError:
        return None


def _opened(image: Any) -> Any:
    """Return a Pillow image or a numpy array as a Pillow image."""
    kind = type(image)
    known = hasattr(image, "__array_interface__") or kind.__module__.startswith("PIL.")
    pillow = _pillow()
    if not known:
        raise ValueError(
            f"a picture must be a file's bytes, its path, a file object, a Pillow image or a numpy array, not"
            f" {kind.__name__}"
        )
    if pillow is None:
        raise ValueError(f"a picture that is no JPEG file needs Pillow: {_INSTALL}")
    if isinstance(image, pillow.Image):
        return image
    dtype, shape = str(getattr(image, "dtype", "")), tuple(getattr(image, "shape", ()))
    if dtype != "uint8" or not (len(shape) == 2 or (len(shape) == 3 and shape[2] in (3, 4))) or 0 in shape:
        raise ValueError(
            "a picture as an array must be uint8 with the shape (height, width), (height, width, 3) or (height, width,"
            f" 4), not {dtype} {shape}"
        )
    return pillow.fromarray(image)


def _encoded(picture: Any, max_base64_bytes: int | None) -> bytes:
    operations = importlib.import_module("PIL.ImageOps")
    picture = operations.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or (picture.mode == "P" and "transparency" in picture.info):
        picture = picture.convert("RGBA")
        ground = _pillow().new("RGB", picture.size, "white")
        ground.paste(picture, mask=picture.getchannel("A"))
        picture = ground
    elif picture.mode not in ("RGB", "L"):
        picture = picture.convert("RGB")
    wide, high = picture.size
    scale = min(1.0, LONG_SIDE / max(wide, high), SHORT_SIDE / min(wide, high))
    limit = None if max_base64_bytes is None else max_base64_bytes // 4 * 3
    while True:
        size = (max(1, int(wide * scale)), max(1, int(high * scale)))
        scaled = picture if size == picture.size else picture.resize(size)
        for quality in _QUALITIES:
            out = io.BytesIO()
            scaled.save(out, "JPEG", quality=quality)
            if limit is None or out.tell() <= limit:
                return out.getvalue()
        if size == (1, 1):
            raise ValueError(f"no picture fits into {limit} bytes")
        scale *= 0.7
