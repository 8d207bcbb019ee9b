"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

OURS, SPEED, BARE = "ours", "ours+speed", "bare"
RIVALS = ("websocket-client", "websockets", "openai", "official")
STREAMING = (OURS, SPEED, BARE, *RIVALS)
SHARE = {"official": 0.1, "openai": 0.25}  # of the events of a backlog: those that take a millisecond for one
DEPENDENCIES = "dependencies"


@dataclass(frozen=True)
class Scenario:
    """One measurement.

    Attributes:
        name: On the command line.
        title: In the table.
        kind: Which measurement of ``clients/measure.py``: flood, append, paced, connect, memory or imports.
        clients: Who takes part.
        baseline: The client that the others are divided by.
        count: Deltas, appends, or connects of one run; per session.
        warm: The same before the clock starts.
        sessions: How many at once.
        dialect: Of the stream.
        secure: wss.
        hog: Beside these sessions, one whose callback computes without end.
        beside: Connect while another session is open.
        limit_s: A run that takes longer is ended and counts as not finished.
        quick: ``count`` of the quick form.
        unit: Of the main figure.
    """

    name: str
    title: str
    kind: str
    clients: tuple[str, ...] = STREAMING
    baseline: str = BARE
    count: int = 20000
    warm: int = 200
    sessions: int = 1
    path: str = "audio"
    dialect: str = "dashscope"
    secure: bool = False
    hog: bool = False
    beside: bool = False
    limit_s: float = 60.0
    quick: int = 6000
    unit: str = "CPU µs per event"

    def quickly(self) -> Scenario:
        """The short form."""
        return replace(self, count=self.quick, warm=min(self.warm, self.quick // 4 or 1))


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("audio", "audio delta 4.8 kB, backlog", "flood"),
        Scenario("audio-loose", "the same, unusual key order and spacing", "flood", (OURS, SPEED, BARE), dialect="loose"),
        Scenario("audio-tls", "audio delta 4.8 kB, backlog over TLS", "flood", secure=True),
        Scenario("transcript", "transcript delta, backlog", "flood", path="transcript", count=50000, quick=15000),
        Scenario("append", "append 100 ms, as fast as possible", "append", path="append"),
        Scenario("paced-1", "1 session at real-time pace", "paced", path="paced", count=100, warm=20, quick=20),
        Scenario("paced-50", "50 sessions at real-time pace", "paced", path="paced", count=100, warm=2, sessions=50, quick=20),
        Scenario(
            "paced-200", "200 sessions at real-time pace", "paced", path="paced", count=100, warm=2, sessions=200,
            limit_s=90.0, quick=20,
        ),
        Scenario(
            "hog", "10 sessions beside a callback that computes without end", "paced", path="paced", count=50, warm=2,
            sessions=10, hog=True, quick=20,
        ),
        Scenario(
            "connect", "connect", "connect", baseline="websocket-client", path="idle", count=100, warm=3, quick=20,
            unit="CPU ms per connect",
        ),
        Scenario(
            "connect-more", "connect while another session is open", "connect", baseline="websocket-client", path="idle",
            count=100, warm=3, quick=20, beside=True, unit="CPU ms per connect",
        ),
        Scenario(
            "connect-tls", "connect over TLS", "connect", baseline="websocket-client", path="idle", count=30, warm=3,
            quick=10, secure=True, unit="CPU ms per connect",
        ),
        Scenario(
            "memory", "memory of an idle session", "memory", path="paced", sessions=100, quick=30,
            unit="KiB per session",
        ),
        Scenario(
            "memory-tls", "memory of an idle session over TLS", "memory", path="paced", sessions=100, quick=30, secure=True,
            unit="KiB per session",
        ),
        Scenario(
            "memory-1000", "memory of an idle session, of 1,000", "memory", (OURS, BARE), path="paced", sessions=1000,
            quick=100, unit="KiB per session",
        ),
        Scenario(
            "import-client", "import of RealtimeClient", "imports", (OURS, DEPENDENCIES), baseline=DEPENDENCIES, count=9,
            quick=3, unit="CPU ms",
        ),
        Scenario(
            "import", "import", "imports", (OURS, DEPENDENCIES), baseline=DEPENDENCIES, count=9, quick=3,
            unit="CPU ms",
        ),
    )
}  # fmt: skip
