"""A text that shows nowhere."""

from __future__ import annotations

from typing import Any


class Secret:
    """A text that shows in no repr, no log and no traceback with locals; ``reveal()`` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; use it in an expression, never bind it to a name."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled: it would leave the process in clear text")


def api_key(given: object) -> Secret:
    """Return a key without surrounding blanks.

    Raises:
        ValueError: It is empty, or holds what no key holds; the key is in neither the message nor the traceback.
    """
    secret = given if isinstance(given, Secret) else Secret(given if isinstance(given, str) else "")
    secret = Secret(secret.reveal().strip())
    del given
    problem = _problem(secret)
    if problem:
        raise ValueError(problem)
    return secret


def _problem(secret: Secret) -> str:
    if not secret.reveal():
        return "the API key is empty or no text"
    if not all(33 <= ord(letter) < 127 for letter in secret.reveal()):
        return "the API key holds blanks, line breaks or letters outside ASCII; copy it again"
    return ""
