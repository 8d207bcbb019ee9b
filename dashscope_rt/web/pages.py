"""The files a page loads: the JavaScript module and what it imports."""

from __future__ import annotations

from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"
TYPES: Final = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".map": "application/json"}


def find(name: str) -> Path | None:
    """Return the file of this name, None if there is none; names outside the folder are none."""
    path = (STATIC / name).resolve()
    return path if path.is_file() and STATIC.resolve() in path.parents and path.suffix in TYPES else None
