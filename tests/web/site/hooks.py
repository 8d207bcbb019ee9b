"""What the project says to the gateway; each of them asks the database, like any view."""

from __future__ import annotations

import threading
from typing import Any

from django.db import connection

threads: set[str] = set()


def _ask_database() -> str:
    threads.add(threading.current_thread().name)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'a greeting of the application'")
        return cursor.fetchone()[0]


def authorize(request: Any) -> str | None:
    """Who has the cookie ``user`` is logged in; ``nobody`` is refused; without a cookie one is let in unknown."""
    _ask_database()
    assert request.user is not None, "the middleware has run"
    user = request.COOKIES.get("user", "")
    return None if user == "nobody" else user


def configure(wanted: dict[str, Any], user: str | None) -> dict[str, Any]:
    _ask_database()
    return {"turn_detection": None} if wanted.get("mode") == "manual" else {}


def done(response: Any) -> None:
    _ask_database()


def greeting() -> str:
    """Say what is in the database."""
    return _ask_database()
