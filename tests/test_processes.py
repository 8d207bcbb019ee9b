"""Sessions inside other people's processes: forks, gevent, gunicorn, interpreter exit, Ctrl-C, many cycles, many at once."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

import dashscope_rt as rt
from dashscope_rt.testing import Emulator

from .peer import SOON

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="fork and signals are POSIX")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator
        emulator.check()


def program(text: str, url: str, *, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a small program that talks to the emulator in this process."""
    code = f"URL = {url!r}\n" + textwrap.dedent(text)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, cwd=ROOT, check=False
    )


def threads_of_ours() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dashscope_rt-")]


def test_in_a_forked_child_the_session_says_so_and_the_parent_goes_on(emulator: Emulator) -> None:
    done = program(
        """
        import os, sys, warnings, dashscope_rt as rt
        with rt.RealtimeClient("sk-1", url=URL).session(turn_detection=None) as session:
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 and later warn of any fork beside a thread
            pid = os.fork()
            if pid == 0:
                for call in (lambda: session.append_audio(bytes(2)), session.commit, session.close,
                             lambda: session.wait_closed(1), lambda: session.ask(text="x"), session.cancel_response):
                    try:
                        call()
                    except rt.ForkedSessionError:
                        continue
                    os._exit(1)
                turn = rt.RealtimeClient("sk-1", url=URL).ask(text="from the child", timeout=10)
                sys.exit(0 if "from the child" in turn.text else 2)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            print(session.ask(text="from the parent", timeout=10).text)
        """,
        emulator.url,
    )
    assert done.returncode == 0, done.stderr
    assert "from the parent" in done.stdout
    assert done.stderr == ""


def test_a_forked_child_does_not_keep_the_parents_connection_open(emulator: Emulator) -> None:
    """The child holds a copy of the socket; unless it lets go, the service never sees the parent's end."""
    done = program(
        """
        import os, socket, dashscope_rt as rt
        listener = socket.create_server(("127.0.0.1", 0))
        session = rt.RealtimeClient("sk-1", url=URL).session(turn_detection=None).connect()
        before = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
        pid = os.fork()
        if pid == 0:
            mine = session._connection.network._transport
            os._exit(0 if mine.fileno() == -1 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """,
        emulator.url,
    )
    assert done.stdout.strip() == "0", done.stderr


def test_exit_with_open_sessions_is_quick_and_silent(emulator: Emulator) -> None:
    done = program(
        """
        import threading, time, dashscope_rt as rt
        sessions = [rt.RealtimeClient("sk-1", url=URL).session(on_audio_delta=lambda e: threading.Event().wait(30)).connect() for _ in range(5)]
        for session in sessions:
            session.ask(text="speak to me", stream=True)
        sessions[0].wait_for("response.audio.delta", 10)
        start = time.monotonic()
        print(start, flush=True)
        """,
        emulator.url,
    )
    ended = time.monotonic()
    assert done.returncode == 0
    assert done.stderr == ""
    assert ended - float(done.stdout) < 2.0


def test_exit_in_the_middle_of_a_stream_leaves_no_traceback(emulator: Emulator) -> None:
    for _ in range(5):
        done = program(
            """
            import dashscope_rt as rt
            session = rt.RealtimeClient("sk-1", url=URL).session(on_audio_delta=lambda e: print(len(e.audio))).connect()
            session.ask(text="a long answer " * 50, stream=True)
            """,
            emulator.url,
        )
        assert done.returncode == 0
        assert done.stderr == ""


@pytest.mark.parametrize(
    "call",
    [
        "session.wait_closed()",
        "session.wait_for('response.done', 60)",
        "session.ask(b'\\0\\0' * 16000, timeout=60)",  # VAD hears nothing
        "list(session.ask(b'\\0\\0' * 16000, timeout=60, stream=True))",
        "session.expect('response.done').wait(60)",
    ],
)
def test_ctrl_c_ends_every_blocking_call(emulator: Emulator, call: str) -> None:
    done = program(
        f"""
        import os, signal, threading, dashscope_rt as rt
        with rt.RealtimeClient("sk-1", url=URL).session() as session:
            changed = session._connection.changed
            wait = changed.wait
            def interrupted_wait(timeout=None):
                if threading.current_thread() is not threading.main_thread():
                    return wait(timeout)
                changed.wait = wait  # only the main thread's first wait is interrupted, while it waits
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
                return wait(timeout)
            changed.wait = interrupted_wait
            try:
                {call}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            changed.wait = wait
            print(session.ask(text="still there?", timeout=10).text)
        """,
        emulator.url,
    )
    assert done.stdout.startswith("interrupted\n"), done.stderr
    assert "still there?" in done.stdout, done.stderr


def test_ctrl_c_while_connecting_leaves_nothing_behind() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        code = textwrap.dedent(
            f"""
            import threading, dashscope_rt as rt
            print("waiting", flush=True)
            try:
                rt.RealtimeClient("sk-1", url={url!r}, timeouts=rt.Timeouts(connect=60)).session().connect()
            except KeyboardInterrupt:
                print("interrupted", threading.active_count())
            """
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            with silent.accept()[0]:
                # Python drops an interrupt that comes inside a finalizer, so one is not always enough.
                for _ in range(5):
                    process.send_signal(signal.SIGINT)
                    try:
                        out, _ = process.communicate(timeout=SOON)
                        break
                    except subprocess.TimeoutExpired:
                        continue
                else:
                    process.kill()
                    out, _ = process.communicate()
                assert out == "interrupted 1\n"


def test_it_works_in_a_gevent_patched_process(emulator: Emulator) -> None:
    pytest.importorskip("gevent")
    done = program(
        """
        from gevent import monkey
        monkey.patch_all()
        import gevent, dashscope_rt as rt
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                gevent.sleep()
        ticker = gevent.spawn(tick)
        heard = []
        def talk(number):
            with rt.RealtimeClient("sk-1", url=URL).session(turn_detection=None, on_audio_delta=heard.append) as session:
                return session.ask(text=f"number {number}", timeout=10).text
        jobs = [gevent.spawn(talk, number) for number in range(5)]
        gevent.joinall(jobs, raise_error=True)
        assert all(f"number {number}" in job.value for number, job in enumerate(jobs))
        assert heard and len(ticks) > 5
        print("ok")
        """,
        emulator.url,
    )
    assert done.stdout.strip() == "ok", done.stderr


def test_gunicorn_with_preload_serves_from_forked_workers(emulator: Emulator, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "app.py").write_text(
        textwrap.dedent(
            f"""
            import os
            import dashscope_rt as rt
            client = rt.RealtimeClient("sk-1", url={emulator.url!r})
            master = client.session(turn_detection=None).connect()  # opened before the fork

            def app(environ, start_response):
                try:
                    master.append_audio(bytes(2))
                    answer = "the master's session pretended to send"
                except rt.ForkedSessionError:
                    answer = client.ask(text="hello from a worker", timeout=10).text
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [answer.encode()]
            """
        )
    )
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", "127.0.0.1:0", "app:app"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = ""
            for line in process.stderr:
                if "Listening at: " in line:
                    url = line.split("Listening at: ")[1].split()[0]
                    break
            import urllib.request

            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=20) as answer:
                assert "hello from a worker" in answer.read().decode()
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.mark.alone
def test_a_thousand_openings_leak_no_thread_no_descriptor_and_no_memory(emulator: Emulator) -> None:
    client = rt.RealtimeClient("sk-1", url=emulator.url)
    threads_before = set(threads_of_ours())  # a callback of an earlier test may still be stuck in its own

    def cycle(times: int) -> None:
        for _ in range(times):
            with client.session(on_done=lambda response: None) as session:
                session.append_audio(bytes(320))

    cycle(50)
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    try:
        cycle(50)
        gc.collect()
        before = tracemalloc.take_snapshot()
        cycle(900)
        gc.collect()
        after = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    ours = tracemalloc.Filter(True, str(ROOT / "dashscope_rt" / "[!t]*"))
    grown = sum(
        difference.size_diff
        for difference in after.filter_traces([ours]).compare_to(before.filter_traces([ours]), "filename")
    )
    assert set(threads_of_ours()) <= threads_before
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 5
    assert grown < 200_000, f"{grown:,} bytes more after 900 openings"


def test_fifty_sessions_at_once_do_not_see_each_others_events(emulator: Emulator) -> None:
    client = rt.RealtimeClient("sk-1", url=emulator.url)
    threads_before = set(threads_of_ours())
    texts: dict[int, str] = {}
    strays: list[str] = []

    def talk(number: int) -> None:
        mine: set[str] = set()
        session = client.session(turn_detection=None)
        session.on("response.created")(lambda event: mine.add(event.response.id))
        session.on_audio_delta(lambda event: event.response_id in mine or strays.append(event.response_id))
        with session:
            texts[number] = " ".join(session.ask(text=f"this is number {number}.", timeout=30).text for _ in range(3))

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert strays == []
    assert sorted(texts) == list(range(50))
    for number, text in texts.items():
        assert text.count(f"this is number {number}.") == 3
    assert set(threads_of_ours()) <= threads_before
