"""Seats: the cap, one for each user, the reaper, the end. And the process: forks, signals."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from typing import Any

import pytest

from dashscope_rt.web.pool import Closing, Full, Pool, Taken

from .browser import SOON
from .servers import ROOT


class Sitter:
    def __init__(self) -> None:
        self.active_at = time.monotonic()
        self.told: list[tuple[int, str]] = []
        self.ended = threading.Event()

    def end(self, code: int, reason: str) -> None:
        self.told.append((code, reason))
        self.ended.set()


def pool(*args: Any, **options: Any) -> Pool:
    return Pool(*args, **{"signals": False, **options})


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "dashscope_rt-web-reaper"]


def test_the_cap_and_a_place_given_back() -> None:
    places = pool(2)
    first, second = places.claim(), places.claim("ann")
    with pytest.raises(Full):
        places.claim("ben")
    assert places.taken == 2
    second.release()
    second.release()
    with places.claim("ben") as third:
        assert places.taken == 2
        assert third.user == "ben"
    first.release()
    assert places.taken == 0


def test_the_newer_tab_wins_also_when_the_house_is_full() -> None:
    places = pool(1)
    first = places.claim("ann")
    sitter = Sitter()
    first.sit(sitter)
    second = places.claim("ann")
    assert sitter.told == [(1008, "you are connected in another tab or on another device now")]
    assert places.taken == 1
    first.release()
    assert places.taken == 1
    second.release()


def test_who_only_looks_takes_no_place_and_nobodys_away() -> None:
    places = pool(1)
    places.look("ann")
    with places.claim("ann") as seat:
        places.look("ann")
        assert seat.told is None
        with pytest.raises(Full):
            places.look("ben")
    places.look("ben")
    assert places.taken == 0


def test_who_sits_down_late_is_told_what_happened_meanwhile() -> None:
    places = pool(2)
    first, second = places.claim("ann"), places.claim("ann")
    sitter = Sitter()
    first.sit(sitter)
    assert sitter.told[0][0] == 1008
    second.release()


def test_the_older_tab_may_stay() -> None:
    places = pool(2, second="refuse")
    with places.claim("ann"), places.claim("ben"):
        pass
    first = places.claim("ann")
    with pytest.raises(Taken, match="another tab"):
        places.claim("ann")
    first.release()
    places.claim("ann").release()


def test_nobody_knows_who_has_no_name() -> None:
    places = pool(3)
    for seat in [places.claim(), places.claim(), places.claim()]:
        assert seat.told is None
        seat.release()


def test_the_reaper_ends_the_idle_and_nobody_else() -> None:
    places = pool(3, idle_s=0.15)
    idle, busy = Sitter(), Sitter()
    busy.active_at += 1000
    seats = [places.claim(), places.claim()]
    seats[0].sit(idle)
    seats[1].sit(busy)
    began = time.monotonic()
    assert idle.ended.wait(SOON)
    assert time.monotonic() - began >= 0.1, "not before its time"
    assert idle.told == [(1008, "nothing was said for 0.15 s")]
    assert busy.told == []
    for seat in seats:
        seat.release()


def test_no_thread_before_the_first_seat_and_none_after_the_last() -> None:
    for other in [thread for thread in threading.enumerate() if thread.name == "dashscope_rt-web-reaper"]:
        other.join(SOON)  # of the test before
    places = pool(2, idle_s=1000)
    assert threads() == []
    seat = places.claim()
    assert len(threads()) == 1
    (reaper,) = [thread for thread in threading.enumerate() if thread.name == "dashscope_rt-web-reaper"]
    seat.release()
    reaper.join(SOON)
    assert not reaper.is_alive()
    with places.claim():
        assert len(threads()) == 1


def test_close_tells_everybody_waits_and_lets_nobody_in() -> None:
    places = pool(2, close_s=SOON)
    seat, sitter = places.claim(), Sitter()
    seat.sit(sitter)
    threading.Thread(target=lambda: (sitter.ended.wait(SOON), seat.release()), daemon=True).start()
    places.close()
    assert sitter.told == [(1013, "this server is shutting down")]
    assert places.taken == 0
    with pytest.raises(Closing):
        places.claim()
    places.close()


def test_close_keeps_its_time_when_somebody_does_not_leave(caplog: pytest.LogCaptureFixture) -> None:
    places = pool(2, close_s=0.1)
    seat = places.claim()
    began = time.monotonic()
    places.close()
    assert time.monotonic() - began < SOON / 2
    assert "1 sessions were still open" in caplog.text
    seat.release()


@pytest.mark.parametrize(
    ("options", "says"),
    [({"limit": 0}, "limit"), ({"limit": True}, "limit"), ({"second": "both"}, "'newer' or 'refuse'"), ({"idle_s": 0}, "idle_s")],
)
def test_values_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pool(**options)


def run(program: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(program)],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False, **options,
    )  # fmt: skip


def test_a_forked_child_begins_with_all_its_seats() -> None:
    done = run(
        """
        import os
        from dashscope_rt.web.pool import Pool, Full
        pool = Pool(1)
        seat = pool.claim("ann")
        pid = os.fork()
        if pid == 0:
            assert pool.taken == 0
            with pool.claim("ben"):
                try:
                    pool.claim("cid")
                except Full:
                    os._exit(0)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), pool.taken)
        seat.release()
        """
    )
    assert done.stdout.strip() == "0 1", done.stderr


def test_sigterm_closes_first_and_then_does_what_it_did_before() -> None:
    done = run(
        """
        import os, signal, threading
        from dashscope_rt.web.pool import Pool
        signal.signal(signal.SIGTERM, lambda number, frame: (print("the server's own", flush=True), over.set()))
        over = threading.Event()
        pool = Pool()
        class Sitter:
            active_at = float("inf")
            def end(self, code, reason):
                print(code, flush=True)
                seat.release()
        seat = pool.claim()
        seat.sit(Sitter())
        os.kill(os.getpid(), signal.SIGTERM)
        assert over.wait(10)
        """
    )
    assert done.stdout.split("\n")[:2] == ["1013", "the server's own"], done.stderr
    assert done.stderr == ""


def test_a_handler_that_is_set_later_gets_ours_before_it_when_the_first_seat_is_taken() -> None:
    """As uvicorn, daphne and a preloading gunicorn do; the seat is taken on another thread."""
    done = run(
        """
        import os, signal, threading
        from dashscope_rt.web.pool import Pool
        pool = Pool()
        over = threading.Event()
        signal.signal(signal.SIGTERM, lambda number, frame: (print("the server's own", pool.taken, flush=True), over.set()))
        class Sitter:
            active_at = float("inf")
            def end(self, code, reason):
                print(code, flush=True)
                seat.release()
        def talk():
            global seat
            seat = pool.claim()
            seat.sit(Sitter())
        thread = threading.Thread(target=talk)
        thread.start()
        thread.join()
        os.kill(os.getpid(), signal.SIGTERM)
        assert over.wait(10)
        """
    )
    assert done.stdout.split("\n")[:2] == ["1013", "the server's own 0"], done.stderr


def test_a_process_that_has_no_handler_ends_by_the_signal() -> None:
    done = run("import os, signal\nfrom dashscope_rt.web.pool import Pool\nPool()\nos.kill(os.getpid(), 15)\nsignal.pause()")
    assert done.returncode == -15


def test_the_end_of_the_program_closes() -> None:
    done = run(
        """
        from dashscope_rt.web.pool import Pool
        pool = Pool()
        class Sitter:
            active_at = float("inf")
            def end(self, code, reason):
                print(code, flush=True)
                seat.release()
        seat = pool.claim()
        seat.sit(Sitter())
        """
    )
    assert done.stdout.strip() == "1013", done.stderr
