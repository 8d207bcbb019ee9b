"""A real kernel, driven cell by cell: its messages as they come, its interrupts when a test wants them."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from typing import Any

import attrs
from jupyter_client.manager import KernelManager

from tests.peer import SOON

CELL = 60.0  # s that a cell may take: a bound that no good run comes near


@attrs.define
class Outcome:
    """What came of a cell."""

    status: str = ""
    error: str = ""  # the exception's name
    messages: list[dict[str, Any]] = attrs.Factory(list)  # of iopub, in order

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] == kind]

    def text(self, name: str = "stdout") -> str:
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)

    @property
    def result(self) -> dict[str, Any]:
        (content,) = self.of("execute_result")
        data: dict[str, Any] = content["data"]
        return data


class Kernel:
    """A kernel of its own process; not thread-safe."""

    def __init__(self, cwd: os.PathLike[str], environment: dict[str, str]) -> None:
        self._sockets = tempfile.mkdtemp(prefix="nb")  # short, because the paths of sockets must be
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{self._sockets}/k")
        self._cwd, self._environment = str(cwd), environment
        self.manager.start_kernel(cwd=self._cwd, env=environment)
        self._listen()

    def _listen(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=CELL)

    @property
    def pid(self) -> int:
        pid = self.manager.provisioner.pid
        assert isinstance(pid, int)
        return pid

    def run(self, code: str, meanwhile: Callable[[], object] = lambda: None) -> Outcome:
        """Run a cell to its end; ``meanwhile`` is called while it runs."""
        message_id = self.client.execute(code, store_history=True)
        meanwhile()
        outcome = Outcome()
        deadline = time.monotonic() + CELL
        while True:
            message = self.client.get_iopub_msg(timeout=max(0.1, deadline - time.monotonic()))
            if message["parent_header"].get("msg_id") != message_id:
                continue
            outcome.messages.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while True:
            reply = self.client.get_shell_msg(timeout=SOON)
            if reply["parent_header"].get("msg_id") == message_id:
                break
        outcome.status, outcome.error = reply["content"]["status"], reply["content"].get("ename", "")
        return outcome

    def good(self, code: str, meanwhile: Callable[[], object] = lambda: None) -> Outcome:
        """Run a cell that must neither fail nor complain."""
        outcome = self.run(code, meanwhile)
        assert outcome.status == "ok", outcome.of("error")
        assert outcome.text("stderr") == ""
        return outcome

    def stopped(self, code: str, when: Callable[[], object]) -> Outcome:
        """Run a cell and press stop when ``when`` returns."""

        def press() -> None:
            when()
            self.manager.interrupt_kernel()

        outcome = self.run(code, press)
        assert outcome.error == "KeyboardInterrupt", (outcome.status, outcome.of("error"))
        return outcome

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel()
        self._listen()

    def shut_down(self) -> None:
        """Shut down as a notebook server does: ask first."""
        self.client.stop_channels()
        self.manager.shutdown_kernel()

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()
        shutil.rmtree(self._sockets, ignore_errors=True)
