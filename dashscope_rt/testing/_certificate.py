"""A throw-away certificate for 127.0.0.1 and localhost and the authority that signs it, from the standard library.

Elliptic curve P-256 and DER by hand: slow (some ten milliseconds) and not safe against somebody who measures how long
it takes, which does not matter for keys that live as long as a test. Sources: RFC 5280 (certificates), RFC 5915 (keys),
SEC 1.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import secrets
from dataclasses import dataclass

# The curve: y² = x³ - 3x + b over the field of _P, with the generator _G of order _N.
_P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
_Point = tuple[int, int]

_EC_KEY = bytes.fromhex("06072a8648ce3d0201")
_P256 = bytes.fromhex("06082a8648ce3d030107")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("0603550403")
_SERVER_AUTH = bytes.fromhex("06082b06010505070301")
_VALID_DAYS = 7


@dataclass(frozen=True)
class Certificates:
    """All as PEM text.

    Attributes:
        authority: What a client has to trust.
        certificate: The server's.
        key: The server's private key.
    """

    authority: str
    certificate: str
    key: str


def make_certificates() -> Certificates:
    """Make an authority and a server certificate, valid for a week."""
    authority_key, server_key = _Key(), _Key()
    authority = _certificate(
        "dashscope_rt emulator authority", authority_key, "dashscope_rt emulator authority", authority_key,
        _extension(0x13, _seq(bytes.fromhex("0101ff")), critical=True),  # it is an authority
        _extension(0x0F, bytes.fromhex("03020106"), critical=True),  # it may sign certificates and revocations
        _extension(0x0E, _der(0x04, authority_key.digest)),
    )  # fmt: skip
    names = _der(0x82, b"localhost") + _der(0x87, ipaddress.ip_address("127.0.0.1").packed)
    certificate = _certificate(
        "dashscope_rt emulator", server_key, "dashscope_rt emulator authority", authority_key,
        _extension(0x13, _seq(), critical=True),
        _extension(0x0F, bytes.fromhex("03020780"), critical=True),  # it may sign
        _extension(0x25, _seq(_SERVER_AUTH)),
        _extension(0x11, _seq(names)),
        _extension(0x0E, _der(0x04, server_key.digest)),
        _extension(0x23, _seq(_der(0x80, authority_key.digest))),
    )  # fmt: skip
    return Certificates(_pem("CERTIFICATE", authority), _pem("CERTIFICATE", certificate), server_key.pem())


class _Key:
    def __init__(self) -> None:
        self._secret = 1 + secrets.randbelow(_N - 1)
        x, y = _times(self._secret, _G)
        self._public = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        self.digest = hashlib.sha256(self._public).digest()[:20]

    def info(self) -> bytes:
        return _seq(_seq(_EC_KEY, _P256), _bits(self._public))

    def sign(self, data: bytes) -> bytes:
        digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
        once = 1 + secrets.randbelow(_N - 1)
        r = _times(once, _G)[0] % _N
        s = pow(once, -1, _N) * (digest + r * self._secret) % _N
        return _seq(_integer(r), _integer(s))

    def pem(self) -> str:
        inner = _seq(_integer(1), _der(0x04, self._secret.to_bytes(32, "big")), _der(0xA1, _bits(self._public)))
        return _pem("PRIVATE KEY", _seq(_integer(0), _seq(_EC_KEY, _P256), _der(0x04, inner)))


def _add(one: _Point | None, two: _Point | None) -> _Point | None:
    if one is None or two is None:
        return one or two
    if one[0] == two[0]:
        if (one[1] + two[1]) % _P == 0:
            return None
        slope = (3 * one[0] * one[0] - 3) * pow(2 * one[1], -1, _P)
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, _P)
    x = (slope * slope - one[0] - two[0]) % _P
    return x, (slope * (one[0] - x) - one[1]) % _P


def _times(factor: int, point: _Point) -> _Point:
    # The factor is never 0 and below the order, so that the sum never is the point at infinity that None stands for.
    result: _Point | None = None
    step: _Point | None = point
    while factor:
        if factor & 1:
            result = _add(result, step)
        step = _add(step, step)
        factor >>= 1
    return result or point


def _certificate(subject: str, key: _Key, issuer: str, signer: _Key, *extensions: bytes) -> bytes:
    now = dt.datetime.now(dt.timezone.utc)
    ends = (now - dt.timedelta(days=1), now + dt.timedelta(days=_VALID_DAYS))
    body = _seq(
        _der(0xA0, _integer(2)),
        _integer(secrets.randbits(127) | 1),
        _ECDSA_SHA256,
        _name(issuer),
        _seq(*(_der(0x17, end.strftime("%y%m%d%H%M%SZ").encode()) for end in ends)),
        _name(subject),
        key.info(),
        _der(0xA3, _seq(*extensions)),
    )
    return _seq(body, _ECDSA_SHA256, _bits(signer.sign(body)))


def _name(common: str) -> bytes:
    return _seq(_der(0x31, _seq(_COMMON_NAME, _der(0x0C, common.encode()))))


def _extension(number: int, value: bytes, *, critical: bool = False) -> bytes:
    name = bytes((0x06, 0x03, 0x55, 0x1D, number))
    return _seq(name, bytes.fromhex("0101ff") if critical else b"", _der(0x04, value))


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _seq(*parts: bytes) -> bytes:
    return _der(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _der(0x03, b"\x00" + content)


def _pem(label: str, content: bytes) -> str:
    text = base64.b64encode(content).decode()
    lines = [text[place : place + 64] for place in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])
