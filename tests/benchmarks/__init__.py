"""How much work a client makes of a realtime session, as ratios to a hand-written socket loop.

    python -m tests.benchmarks.peers              # once: the rivals, each in a virtual environment of its own
    python -m tests.benchmarks --write            # everything, and the table and the plot of the README
    python -m tests.benchmarks --quick audio      # a few seconds

    runner ──starts──> server.py                  one process: pre-built frames, ws and wss, 127.0.0.1 only
       └─────starts──> clients/<name>.py          one process per run, one JSON line of figures each

* ``scenarios.py`` says what is measured, ``frames.py`` what goes over the wire, ``server.py`` sends and counts.
* ``clients/measure.py`` does the measuring, the same for all; each client only opens sessions and hands events on.
* ``runner.py`` interleaves the clients round by round, so that a machine that slows down slows all of them, and
  compares within a round; ``report.py`` and ``plot.py`` write what came out; ``peers.py`` installs the rivals.

CPU time is what counts: user and system time of the client's process, all threads. Wall time stands beside it.
"""
