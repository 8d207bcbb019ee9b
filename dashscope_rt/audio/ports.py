"""What a microphone and a speaker ask of the machine: a backend with devices, and streams of blocks on its threads.

`SoundDevices` (devices.py) is the machine's own hardware, `FakeDevice` (fake.py) is none at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import attrs


@attrs.frozen(kw_only=True)
class DeviceInfo:
    """One device.

    Attributes:
        id: What the backend calls it.
        name: As the machine shows it.
        inputs: Input channels; 0: it is no microphone.
        outputs: Output channels; 0: it is no speaker.
        default: The machine's own choice for ``input``, ``output``, both or neither.
    """

    id: int
    name: str
    inputs: int = 0
    outputs: int = 0
    default: frozenset[str] = frozenset()


class BlockSink(Protocol):
    """Takes what a microphone hears."""

    def put(self, block: bytes) -> None:
        """One block, mono PCM at the stream's rate; called on the device's thread, returns at once."""

    def settle(self, timeout: float) -> None:
        """Wait until whoever reads has worked off what was put; for devices whose time is not real."""


class BlockSource(Protocol):
    """Gives what a speaker plays."""

    def take(self, frames: int, at: float) -> bytes:
        """The next block, mono PCM at the stream's rate, due at ``at`` on the device's clock; returns at once."""


class Stream(Protocol):
    """An open device.

    Attributes:
        rate: Hz.
        block_ms: Length of its blocks.
        latency_ms: From the device's thread to the ear, or from the mouth to it.
    """

    rate: int
    block_ms: float
    latency_ms: float

    def start(self) -> None:
        """Let blocks flow."""

    def now(self) -> float:
        """Seconds on the clock of the ``at`` in `BlockSource.take`."""

    def close(self) -> None:
        """Stop and let go of the device; may be called again."""


class Backend(Protocol):
    """Where devices come from."""

    def devices(self) -> Sequence[DeviceInfo]:
        """All there are."""

    def open_input(self, device: DeviceInfo, rate: int, block_ms: float, sink: BlockSink) -> Stream:
        """Open a microphone, at ``rate`` where it can do that, else at its own."""

    def open_output(self, device: DeviceInfo, rate: int, block_ms: float, source: BlockSource) -> Stream:
        """Open a speaker, at ``rate`` where it can do that, else at its own."""


def choose(devices: Sequence[DeviceInfo], wanted: str | int | None, kind: Literal["input", "output"]) -> DeviceInfo:
    """Find a device.

    Args:
        devices: All there are.
        wanted: Part of its name in any case, its id, or None for the machine's own choice.
        kind: ``input`` or ``output``.

    Raises:
        LookupError: There is none, or more than one; the message lists what there is.
    """
    able = [device for device in devices if (device.inputs if kind == "input" else device.outputs)]
    what = "microphone" if kind == "input" else "speaker"
    if not able:
        raise LookupError(f"this machine has no {what}")
    if wanted is None:
        return next((device for device in able if kind in device.default), able[0])
    if isinstance(wanted, int):
        found = [device for device in able if device.id == wanted]
    else:
        found = [device for device in able if device.name == wanted]
        found = found or [device for device in able if wanted.casefold() in device.name.casefold()]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(f"{device.id}: {device.name}" for device in found or able)
    if found:
        raise LookupError(f"{wanted!r} fits more than one {what}: {listed}; give more of the name, or its number")
    raise LookupError(f"there is no {what} {wanted!r}; there are {listed}")
