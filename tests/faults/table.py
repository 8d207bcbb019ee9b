"""The table of faults in ``README.md``: rows that tests hand in, written by the run, checked by every other run.

Tests of other folders hand in nothing; `ELSEWHERE` says which of them prove which row.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

HOME = Path(__file__).parent
README = HOME / "README.md"
SWITCH = "DASHSCOPE_RT_WRITE_FAULT_TABLE"
WRITING = os.environ.get(SWITCH) == "1"  # now: the tests take such variables away
HEAD = f"""# Faults, and what the user of a session sees

Written by the test run (`{SWITCH}=1 python -m pytest tests`);
every other run checks that it has exactly the rows of that run, times aside. Each row is a real session against a real socket of this machine. Where a row says "with
Reconnect", the same fault was met a second time by a session with `reconnect=Reconnect(...)`. Times are those of the
run that wrote the table, start to end, with deadlines compressed to fractions of a second.

How a fault is put in: `python -m dashscope_rt emulator --fault list`.
"""
SECTIONS = (
    "Connecting",
    "The connection ends",
    "The line is bad",
    "Messages",
    "The service reports an error",
    "Time limits",
    "Closing",
    "Keepalive and TLS",
    "Backpressure and statistics",
    "Reconnect",
    "Processes",
    "Secrets",
    "Fuzz",
)
_COLUMNS = ("fault", "what the user sees", "how long it took", "what was lost")


@attrs.frozen
class Row:
    """One line of the table; rows are the same when all but the time is."""

    section: str
    fault: str
    sees: str
    lost: str
    took: str = attrs.field(default="", eq=False)

    def cells(self) -> str:
        cells = (self.fault, self.sees, self.took or "not in this run", self.lost)
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def elsewhere(section: str, test: str, fault: str, sees: str, lost: str = "nothing") -> tuple[str, Row]:
    return f"tests/{test}", Row(section, fault, sees, lost)


# Node id of a test of another folder (all its parameters) -> the row it proves.
ELSEWHERE: dict[str, Row] = dict(
    (
        elsewhere(
            "Connecting",
            "client/test_connect_deadline.py::test_a_connection_that_comes_about_at_the_very_deadline_does_not_stay",
            "the connection comes about when the deadline has just passed",
            "connect() raises DeadlineExceeded; the late connection is closed, nothing of it stays",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_the_session_goes_on_with_its_configuration_after_a_reset",
            "reset after updates of the configuration",
            "on_reconnected; the new connection has the whole configuration, updates included",
            "the client events nobody had acknowledged, named in lost.events",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_the_conversation_is_given_back_as_text_and_the_rest_is_named",
            "reset in a conversation",
            "on_reconnected; the conversation so far is given back as one text item",
            "speech without a transcript, pictures, calls: named in lost.not_restored",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_unsent_audio_is_kept_within_its_bound_and_what_was_heard_is_not_sent_again",
            "audio appended while there is no connection",
            "it is sent once there is one again, the newest within audio_buffer_ms",
            "older audio (lost.dropped_audio_ms); half-heard audio is not sent again (lost.audio_ms)",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_the_budget_ends",
            "no connection comes about any more",
            "on_reconnecting for each attempt, then on_close with the last failure",
            "the session",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_the_budget_is_whole_again_after_a_good_event",
            "lost again and again, with good events between",
            "the budget of attempts is whole again each time",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_delays_double_are_bounded_and_leave_the_jitter_to_chance",
            "many clients lose their connection at once",
            "delays that double, are bounded, and leave a share to chance",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_no_new_try_after_a_refused_key",
            "the key is refused while reconnecting",
            "on_close with AuthenticationError, no further try",
            "the session",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_a_close_during_the_back_off_ends_it_at_once",
            "close() during a back-off of ten minutes",
            "close() returns at once, on_close(client)",
        ),
        elsewhere(
            "Reconnect",
            "test_reconnect.py::test_a_planned_change_of_connection_waits_for_the_turn_boundary",
            "the session limit comes near (rotate_after)",
            "on_reconnecting(planned) at the turn boundary, on_reconnected",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_in_a_forked_child_the_session_says_so_and_the_parent_goes_on",
            "fork",
            "ForkedSessionError in the child, at every call; the parent goes on, the child may open its own session",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_gunicorn_with_preload_serves_from_forked_workers",
            "gunicorn with preload",
            "the workers answer with sessions of their own",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_it_works_in_a_gevent_patched_process",
            "a gevent-patched process",
            "five sessions at once, other greenlets run meanwhile",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_exit_with_open_sessions_is_quick_and_silent",
            "interpreter exit with five open sessions and a callback that sleeps",
            "exit in under 2 s, nothing on the standard error",
            "what the callbacks had not been given yet",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_exit_in_the_middle_of_a_stream_leaves_no_traceback",
            "interpreter exit in the middle of an answer",
            "exit code 0, no traceback",
            "the rest of the answer",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_ctrl_c_ends_every_blocking_call",
            "Ctrl-C in every blocking call",
            "KeyboardInterrupt at once; the session goes on",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_ctrl_c_while_connecting_leaves_nothing_behind",
            "Ctrl-C while connecting",
            "KeyboardInterrupt; no thread is left",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_a_thousand_openings_leak_no_thread_no_descriptor_and_no_memory",
            "a thousand openings and closings",
            "no thread, no descriptor, no memory more than before",
        ),
        elsewhere(
            "Processes",
            "test_processes.py::test_fifty_sessions_at_once_do_not_see_each_others_events",
            "fifty sessions at once",
            "each sees its own events only",
        ),
        elsewhere(
            "Secrets",
            "client/test_secrecy.py",
            "logs at DEBUG, repr, exceptions, tracebacks with locals, enableTrace",
            "the key is in none of them; audio and texts show as sizes",
        ),
        elsewhere(
            "Secrets",
            "client/test_tls.py::test_a_certificate_that_is_not_good_is_refused_before_the_key_goes_out",
            "unknown CA, wrong host name",
            "connect() raises ConnectionFailed (not retryable) before the key goes out",
        ),
        elsewhere(
            "Secrets",
            "client/test_tls.py::test_a_session_over_tls_with_a_ca_of_ones_own",
            "a CA of one's own",
            "works with ca_file=…",
        ),
        elsewhere(
            "Secrets",
            "client/test_endpoint.py::test_a_header_that_could_smuggle_something_in_is_refused",
            "line breaks in header and URL values",
            "ValueError before anything is sent",
        ),
        elsewhere(
            "Fuzz",
            "test_fuzz.py::test_no_input_hangs_grows_memory_or_raises_anything_foreign",
            "mutated messages and streams (a short run; the long one is python -m tests.fuzz.fuzz)",
            "only our exceptions, no hang, no memory growth",
        ),
    )
)


class Table:
    """The rows of one run."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.passed: dict[str, float] = {}  # node id of ELSEWHERE -> seconds, summed over its parameters
        self.failed: set[str] = set()

    def add(self, section: str, fault: str, sees: str, took: float, lost: str = "nothing") -> None:
        assert section in SECTIONS
        self.rows.append(Row(section, fault, sees, lost, duration(took)))

    def others(self) -> list[Row]:
        times = {row: row.took for row in committed()}
        return [
            attrs.evolve(row, took=duration(self.passed[test]) if test in self.passed else times.get(row, ""))
            for test, row in ELSEWHERE.items()
        ]

    def text(self) -> str:
        rows = [*self.rows, *self.others()]
        parts = [HEAD]
        for section in SECTIONS:
            mine = [row.cells() for row in rows if row.section == section]
            head = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
            parts.append("\n".join([f"## {section}", "", *head, *mine]) + "\n")
        return "\n".join(parts)


def committed() -> list[Row]:
    """The rows of the file as it is."""
    rows: list[Row] = []
    section = ""
    for line in README.read_text(encoding="utf-8").splitlines() if README.exists() else ():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(f"| {_COLUMNS[0]} |"):
            fault, sees, took, lost = (
                cell.strip().replace("\0", "|") for cell in line.replace("\\|", "\0").strip("| ").split("|")
            )
            rows.append(Row(section, fault, sees, lost, took))
    return rows
