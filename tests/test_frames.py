"""Framing: whatever the cut, the same messages; whatever breaks RFC 6455, a ProtocolError."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from dashscope_rt import MessageTooLarge, ProtocolError
from dashscope_rt._network.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameReader,
    Masks,
    Message,
    close_frame,
    frame,
    read_close,
)

LIMIT = 1 << 20
payloads = st.binary(max_size=300) | st.sampled_from([125, 126, 127, 65535, 65536, 70000]).map(bytes)


def peer_frame(opcode: int, payload: bytes, fin: bool = True) -> bytes:
    """A frame as another, independent library writes it."""
    return Frame(Opcode(opcode), payload, fin).serialize(mask=False)


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Message], list[Message]]:
    """A byte stream with fragments and control frames in between, the messages it holds, and the control frames."""
    data, messages, control = b"", [], []
    for _ in range(draw(st.integers(1, 4))):
        opcode, pieces = draw(st.sampled_from([TEXT, BINARY])), draw(st.lists(payloads, min_size=1, max_size=3))
        for at, piece in enumerate(pieces):
            data += peer_frame(opcode if at == 0 else 0, piece, fin=at == len(pieces) - 1)
            if at < len(pieces) - 1 and draw(st.booleans()):
                control.append((draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125))))
                data += peer_frame(*control[-1])
        messages.append((opcode, b"".join(pieces)))
    return data, messages, control


@given(streams(), st.lists(st.integers(0, 400), max_size=8))
def test_messages_are_the_same_wherever_the_stream_is_cut(
    stream: tuple[bytes, list[Message], list[Message]], cuts: list[int]
) -> None:
    data, expected, control = stream
    reader, found, at = FrameReader(LIMIT), [], 0
    for cut in [*cuts, len(data)]:
        found += reader.feed(data[at : at + cut])
        at += cut
    assert found == expected
    assert reader.control == control


@given(
    st.lists(st.lists(st.integers(0, 300_000), min_size=1, max_size=4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90_000)), max_size=40),
)
@settings(max_examples=60, deadline=None)
def test_readers_of_one_thread_share_its_buffer_and_nothing_else(
    sizes: list[list[int]], reads: list[tuple[int, int]]
) -> None:
    """However their reads alternate, and however large their frames are."""
    payloads = [[bytes([65 + number]) * size for size in each] for number, each in enumerate(sizes)]
    streams = [b"".join(peer_frame(TEXT, payload) for payload in each) for each in payloads]
    readers = [FrameReader(LIMIT) for _ in streams]
    found: list[list[bytes]] = [[] for _ in streams]
    at = [0] * len(streams)
    rest = [(number, len(data)) for number, data in enumerate(streams)]
    for number, size in [*((number % len(streams), size) for number, size in reads), *rest]:
        piece = streams[number][at[number] : at[number] + size]
        found[number] += [payload for _, payload in readers[number].feed(piece)]
        at[number] += len(piece)
    assert found == payloads


@given(st.lists(st.tuples(st.sampled_from([TEXT, PING, PONG]), st.binary(max_size=20)), min_size=1, max_size=3))
@settings(max_examples=30)
def test_one_stream_cut_at_every_byte(frames: list[tuple[int, bytes]]) -> None:
    data = b"".join(peer_frame(opcode, payload) for opcode, payload in frames)
    for cut in range(len(data) + 1):
        reader = FrameReader(LIMIT)
        assert reader.feed(data[:cut]) + reader.feed(data[cut:]) == [frame for frame in frames if frame[0] == TEXT]
        assert reader.control == [frame for frame in frames if frame[0] != TEXT]


def test_each_message_is_cut_out_when_it_is_asked_for() -> None:
    """Not all at once: the memory of one serves for the next."""
    reader = FrameReader(LIMIT)
    data = b"".join(peer_frame(TEXT, b"%d" % number) for number in range(3)) + peer_frame(PING, b"")
    reader.room()[: len(data)] = data
    messages = reader.took(len(data))
    assert next(messages) == (TEXT, b"0")
    assert reader.control == []
    assert [payload for _, payload in messages] == [b"1", b"2"]
    assert reader.control == [(PING, b"")]


def test_nothing_is_read_after_a_close_frame() -> None:
    reader = FrameReader(LIMIT)
    last = peer_frame(TEXT, b"late") + peer_frame(PING, b"") + b"\xff\xff no frame at all"
    assert reader.feed(peer_frame(TEXT, b"in time") + peer_frame(CLOSE, b"\x03\xe8") + last) == [(TEXT, b"in time")]
    assert reader.feed(last) == []
    assert reader.control == [(CLOSE, b"\x03\xe8")]


@given(st.binary(max_size=2000))
def test_garbage_gives_messages_or_a_protocol_error_and_nothing_else(data: bytes) -> None:
    try:
        FrameReader(1000).feed(data)
    except ProtocolError:
        pass


@given(st.sampled_from([TEXT, BINARY, PING]), payloads)
@settings(max_examples=50)
def test_what_goes_out_is_what_another_library_reads(opcode: int, payload: bytes) -> None:
    payload = payload[:125] if opcode == PING else payload
    server = ServerProtocol(max_size=None)
    server.state = type(server.state)(1)  # OPEN: the handshake is not what is tested here
    server.parser = server.parse()
    next(server.parser)
    server.receive_data(frame(opcode, payload))
    events = [event for event in server.events_received() if isinstance(event, Frame)]
    assert [(event.opcode, bytes(event.data)) for event in events] == [(opcode, payload)]


def test_the_mask_is_fresh_for_every_frame() -> None:
    assert len({frame(TEXT, b"same")[2:6] for _ in range(50)}) > 45
    masks = Masks()
    made = [masks.next() for _ in range(1000)]
    assert {len(mask) for mask in made} == {4}
    assert len(set(made)) > 990
    assert frame(TEXT, b"same", made[0])[2:6] == made[0]


def test_masks_are_the_systems_randomness_used_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def urandom(size: int) -> bytes:
        asked.append(bytes(range(size)) if not asked else bytes(reversed(range(size))))
        return asked[-1]

    monkeypatch.setattr("dashscope_rt._network.frames.os.urandom", urandom)
    masks = Masks()
    made = [masks.next() for _ in range(65)]
    assert sorted(b"".join(made[:64])) == list(range(256))
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x81\x81\0\0\0\0a", "masked"),
        (b"\xc1\x01a", "reserved"),
        (b"\x83\x01a", "reserved"),
        (b"\x09\x00", "in fragments"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "126 bytes"),
        (b"\x80\x01a", "never began"),
        (b"\x01\x01a\x81\x01b", "inside another"),
    ],
    ids=["masked", "rsv", "opcode", "fragmented ping", "long ping", "stray continuation", "nested message"],
)
def test_a_breach_of_the_protocol_is_named(data: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        FrameReader(LIMIT).feed(data)


def test_a_message_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(MessageTooLarge, match="1,099,511,627,776 bytes"):
        FrameReader(LIMIT).feed(struct.pack("!BBQ", 0x81, 127, 1 << 40))


def test_fragments_count_together_against_the_limit() -> None:
    reader = FrameReader(100)
    reader.feed(peer_frame(TEXT, bytes(60), fin=False))
    with pytest.raises(MessageTooLarge):
        reader.feed(peer_frame(0, bytes(60)))


def test_a_close_reason_longer_than_the_protocol_allows_is_kept_whole() -> None:
    """DashScope closes with 1007 and about 130 bytes of text when the free tier is used up."""
    reason = "The free tier of the model has been exhausted. " * 3
    payload = struct.pack("!H", 1007) + reason.encode()
    head = struct.pack("!BBH", 0x88, 126, len(payload))
    reader = FrameReader(LIMIT)
    assert reader.feed(head + payload) == []
    (message,) = reader.control
    assert message[0] == CLOSE
    assert read_close(message[1]) == (1007, reason)


@given(st.text(max_size=200))
def test_our_close_frame_fits_the_protocol_and_is_cut_at_a_character(reason: str) -> None:
    out = close_frame(1000, reason.encode("utf-8", "replace").decode())
    assert len(out) <= 2 + 4 + 125


def test_a_close_frame_without_a_code_reads_as_1005() -> None:
    assert read_close(b"") == (1005, "")
