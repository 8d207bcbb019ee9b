"""Throw inputs at the decoder and the frame reader: ``python -m tests.fuzz.fuzz --inputs 1000000``.

Inputs are mutations of the wire vectors and of valid streams: flipped bytes, cut and doubled pieces, values replaced by
others of the wrong kind, headers that announce anything. It fails on a hang, on memory that grows with the number of
inputs, and on any exception that is not ours. With ``atheris`` installed, ``--coverage`` lets it guide the mutations.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashscope_rt import codec
from dashscope_rt._network.frames import FrameReader
from dashscope_rt._session.state import SessionState
from dashscope_rt.errors import ProtocolError
from dashscope_rt.events import ServerEvent

VECTORS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "vectors").glob("*/server/*.json"))]
LIMIT = 1 << 20
DECODER = codec.Decoder()
SLOW = 1.0  # s for one input: a thousand times what any takes
GROWTH = 4_000_000  # bytes that a run may end with more than it began with
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    "",
    " ",
    "\u0000",
    "é\ud83d\ude00",
    [],
    {},
    [[]],
    {"a": {}},
    "A" * 5000,
]


def mutate_json(chance: random.Random) -> bytes:
    """A vector with a field replaced, removed or added, or with its text damaged."""
    text = chance.choice(VECTORS)
    if chance.random() < 0.6:
        value = json.loads(text)
        for _ in range(chance.randint(1, 3)):
            _damage(value, chance)
        text = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    return text if chance.random() < 0.5 else mutate_bytes(text, chance)


def _damage(value: Any, chance: random.Random) -> None:
    while isinstance(value, (dict, list)) and value:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        inner = value[key]
        if isinstance(inner, (dict, list)) and inner and chance.random() < 0.7:
            value = inner
            continue
        roll = chance.random()
        if roll < 0.6:
            value[key] = copy.deepcopy(chance.choice(ODD))
        elif roll < 0.8:
            del value[key]
        elif isinstance(value, dict):
            value[chance.choice(["type", "delta", "item", "response", "raw", "zz"])] = copy.deepcopy(chance.choice(ODD))
        return


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, double and insert bytes."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(out) + 1)
        roll = chance.random()
        if roll < 0.4 and at < len(out):
            out[at] = chance.randrange(256)
        elif roll < 0.6:
            del out[at : at + chance.randint(1, 20)]
        elif roll < 0.8:
            out[at:at] = out[at : at + chance.randint(1, 40)]
        else:
            out[at:at] = chance.randbytes(chance.randint(1, 8))
    return bytes(out)


def stream(chance: random.Random) -> bytes:
    """Frames, some of them wrong."""
    out = b""
    for _ in range(chance.randint(1, 4)):
        payload = chance.randbytes(chance.choice([0, 1, 5, 125, 126, 300]))
        first = chance.choice([0x81, 0x82, 0x01, 0x00, 0x80, 0x88, 0x89, 0x8A, chance.randrange(256)])
        size = len(payload) if chance.random() < 0.8 else chance.choice([0, 126, 65535, 1 << 40, (1 << 64) - 1])
        if size < 126:
            out += bytes([first, size]) + payload
        elif size < 65536:
            out += bytes([first, 126]) + size.to_bytes(2, "big") + payload
        else:
            out += bytes([first, 127]) + size.to_bytes(8, "big") + payload
    return mutate_bytes(out, chance) if chance.random() < 0.4 else out


def try_decoder(data: bytes) -> None:
    """One message through decode and the session's state: only invalid UTF-8 may raise."""
    try:
        event = codec.decode(data)
    except UnicodeDecodeError:
        return
    assert isinstance(event, ServerEvent)
    assert DECODER.decode(data) == event  # it remembers frames; what it says is the same
    repr(event)
    SessionState(24000, 2.0).fold(event, 1.0)


def try_reader(data: bytes, chance: random.Random) -> None:
    """One stream, cut anywhere: messages or a ProtocolError."""
    reader = FrameReader(LIMIT)
    at = 0
    try:
        while at < len(data):
            size = chance.randint(1, 64)
            reader.feed(data[at : at + size])
            at += size
    except ProtocolError:
        pass


def run(inputs: int, seed: int, report: Callable[[str], None] = lambda text: None) -> tuple[int, float, int]:
    """Run so many inputs.

    Returns:
        Inputs done, the slowest of them in seconds, and the bytes by which memory grew.

    Raises:
        AssertionError: A hang, or growth.
        Exception: Whatever the code under test should not have raised; ``seed`` and number find it again.
    """
    chance = random.Random(seed)
    codec.prepare()
    for _ in range(2000):  # every reader of every type exists before memory is looked at
        try_decoder(mutate_json(chance))
    gc.collect()
    tracemalloc.start()
    before, slowest = tracemalloc.get_traced_memory()[0], 0.0
    try:
        for number in range(inputs):
            start = time.perf_counter()
            try:
                if number % 2:
                    try_decoder(mutate_json(chance))
                else:
                    try_reader(stream(chance), chance)
            except Exception:
                report(f"input {number} of seed {seed} failed")
                raise
            slowest = max(slowest, time.perf_counter() - start)
            if number % 100_000 == 99_999:
                report(f"{number + 1:,} inputs, slowest {slowest * 1000:.1f} ms")
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert slowest < SLOW, f"an input took {slowest:.2f} s"
    assert grown < GROWTH, f"memory grew by {grown:,} bytes"
    return inputs, slowest, grown


def guided() -> None:
    """Let atheris choose the inputs; it runs until it is stopped."""
    import atheris  # type: ignore[import-not-found]

    def one(data: bytes) -> None:
        try_decoder(data)
        try_reader(data, random.Random(len(data)))

    atheris.instrument_all()
    atheris.Setup([sys.argv[0]], one)
    atheris.Fuzz()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Throw inputs at the decoder and the frame reader.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--coverage", action="store_true", help="guide the mutations with atheris")
    options = parser.parse_args()
    if options.coverage:
        guided()
        return
    started = time.perf_counter()
    done, slowest, grown = run(options.inputs, options.seed, lambda text: print(text, flush=True))
    seconds = time.perf_counter() - started
    print(
        f"{done:,} inputs in {seconds:.0f} s (seed {options.seed}): slowest {slowest * 1000:.1f} ms, grown {grown:,} bytes"
    )


if __name__ == "__main__":
    main()
