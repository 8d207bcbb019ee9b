"""Imports point down only. The picture is the table; a new file needs a row in it."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "dashscope_rt"
