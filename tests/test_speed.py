"""OpenSSL's Base64 decoder in place of binascii's: the same bytes, the same refusals, and never one that is wrong."""

from __future__ import annotations

import _ssl
import base64
import ctypes
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dashscope_rt import _speed

Decode = Callable[["str | bytes"], bytes]
LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TELLTALE = b"=\r\n\t -_\0\x7f\x80\xff!*\x0b\x0c.,"  # white space, ends of file, other alphabets
LONG = 1200  # letters that are worth a call


def openssl() -> Decode:
    if "_ssl" in sys.builtin_module_names or sys.platform == "win32":
        pytest.skip("this Python keeps its OpenSSL to itself")
    found = _speed._openssl_bytes()
    assert found is not None, "this Python's ssl module does not show its OpenSSL"
    return found


def both(decode: Decode, text: str | bytes) -> None:
    """What binascii's way answers is what OpenSSL's way answers, or both refuse."""
    try:
        expected = _speed._base64_bytes(text)
    except ValueError:
        with pytest.raises(ValueError):
            decode(text)
    else:
        assert decode(text) == expected


@st.composite
def nearly_base64(draw: st.DrawFn) -> bytes:
    """Long Base64, with a few letters replaced, put in or left out."""
    text = bytearray(base64.b64encode(random.Random(draw(st.integers(0, 99))).randbytes(draw(st.integers(900, 1300)))))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.sampled_from((0, 1, len(text) // 2, len(text) - 5, len(text) - 3, len(text) - 2, len(text) - 1)))
        letter = draw(st.sampled_from(LETTERS + TELLTALE))
        what = draw(st.sampled_from(("replace", "put in", "leave out")))
        text[place : place + (what != "put in")] = b"" if what == "leave out" else bytes([letter])
    return bytes(text)


@settings(derandomize=True, database=None, deadline=None, max_examples=300)
@given(nearly_base64())
@example(b"A" * LONG + b"QQ==")
@example(b"A" * LONG + b"QR==")  # bits that mean nothing
@example(b"A" * LONG + b"QUI=")
@example(b"A" * LONG + b"Q===")
@example(b"A" * LONG + b"====")
@example(b"A" * LONG + b"QQ=Q")
@example(b"QQ==" + b"A" * LONG)
@example(b"A" * LONG + b"    ")
@example(b"    " + b"A" * LONG)
@example(b"A" * LONG + b"\n\n\n\n")
@example(b"A" * LONG + b"----")  # OpenSSL's end of a file
@example(b"A" * LONG + b"AAAAA")
def test_openssl_decodes_and_refuses_what_binascii_does(text: bytes) -> None:
    decode = openssl()
    both(decode, text)
    both(decode, text.decode("latin-1"))


def test_every_length_and_every_kind_of_padding() -> None:
    decode = openssl()
    for size in (*range(8), *range(750, 790), 4799, 4800, 4801, 100_000):
        sound = random.Random(size).randbytes(size)
        text = base64.b64encode(sound)
        assert decode(text) == sound
        assert decode(text.decode()) == sound


def test_text_that_is_no_ascii_is_refused() -> None:
    decode = openssl()
    for odd in ("é", "\ud800", "你"):
        with pytest.raises(ValueError):
            decode("A" * LONG + odd * 4)


def test_what_was_decoded_stays_as_it_was() -> None:
    decode = openssl()
    sounds = [random.Random(number).randbytes(900) for number in range(20)]
    decoded = [decode(base64.b64encode(sound)) for sound in sounds]
    assert decoded == sounds


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Let ctypes find this function in the place of EVP_DecodeBlock."""
    monkeypatch.setattr(ctypes, "PyDLL", lambda _: types.SimpleNamespace(EVP_DecodeBlock=answer))


class Wrong:
    """Writes nothing, and answers what the right one would."""

    def __call__(self, _room: object, _data: bytes, size: int) -> int:
        return size // 4 * 3


def test_a_decoder_that_decodes_something_else_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    openssl()
    stand_in(monkeypatch, Wrong())
    assert _speed._openssl_bytes() is None


def test_a_decoder_that_refuses_everything_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Wrong):
        calls = 0

        def __call__(self, _room: object, _data: bytes, size: int) -> int:
            Refusing.calls += 1
            return -1

    openssl()
    stand_in(monkeypatch, Refusing())
    assert _speed._openssl_bytes() is None
    assert Refusing.calls


@pytest.mark.parametrize("missing", ["_ssl", "ctypes", "the file", "the function"])
def test_without_openssl_in_reach_binascii_stays(monkeypatch: pytest.MonkeyPatch, missing: str, tmp_path: Path) -> None:
    if missing in ("_ssl", "ctypes"):
        monkeypatch.setitem(sys.modules, missing, None)
    elif missing == "the file":
        monkeypatch.setattr(_ssl, "__file__", str(tmp_path / "none.so"))
    else:
        monkeypatch.setattr(ctypes, "PyDLL", lambda _: types.SimpleNamespace())
    assert _speed._openssl_bytes() is None


@pytest.mark.parametrize("there", [True, False])
def test_openssl_is_taken_unless_pybase64_is_there(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    openssl()
    package = types.SimpleNamespace(b64decode=None, b64encode=None) if there else None
    monkeypatch.setitem(sys.modules, "pybase64", package)
    _speed.forget()
    _speed._picked = None
    try:
        found = _speed.pick()
    finally:
        _speed.forget()
        _speed._picked = None
    assert ("pybase64" in found) is there
    assert ("openssl" in found) is not there
