"""The sample notebook as it is kept: with its outputs, so that it can be read where it cannot be run, but without sound.

    python -m tests.notebook.fresh        runs it and writes it anew

A recorded answer is a quarter of a megabyte and different every time; it would make the file large and every change of it
unreadable. A test compares what the file holds with what a run gives, numbers aside.
"""

from __future__ import annotations

import copy
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent.parent
NOTEBOOK = ROOT / "samples" / "notebook.ipynb"
_PLAYER = re.compile(r"<audio[^>]*>(.*?)</audio>", re.DOTALL)
_BETWEEN_RUNS = re.compile(r"(?:sess|req)_\w+|[0-9a-f]{8}-[0-9a-f-]{27,}|\d[\d,.]*(?: ms\b| s\b)?")
_BUSY = re.compile(r"^ *callbacks +up to .* late\n", re.MULTILINE)  # said only where the machine was


class Watched(NotebookClient):
    """Runs a notebook and keeps every message of every cell."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        self.messages.append((cell_index, msg))
        return super().process_message(msg, cell, cell_index)


def executed(folder: Path, environment: dict[str, str]) -> Watched:
    """Run the notebook in a folder of its own, with the data of the samples beside it."""
    shutil.copytree(NOTEBOOK.parent / "data", folder / "data")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    sockets = tempfile.mkdtemp(prefix="nb")
    manager = KernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/k")
    client = Watched(notebook, km=manager, timeout=60, resources={"metadata": {"path": str(folder)}})
    try:
        client.execute(env=environment)
    finally:
        if client.kc is not None:
            client.kc.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel()
        manager.cleanup_resources()
        shutil.rmtree(sockets, ignore_errors=True)
    return client


def kept(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as the file holds it."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    count = 0
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = joined(cell.outputs)
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = _PLAYER.sub(r"<p><i>\1 Run the cell to hear it.</i></p>", data["text/html"])
    return notebook


def joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Put together what a stream gave piece by piece."""
    whole: list[NotebookNode] = []
    for output in outputs:
        if whole and output.output_type == "stream" == whole[-1].output_type and output.name == whole[-1].name:
            whole[-1].text += output.text
        else:
            whole.append(output)
    return whole


def essence(notebook: NotebookNode) -> list[list[Any]]:
    """What must be the same in every run, on every Python and with every pandas: texts without their numbers."""
    cells = []
    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/plain", "")
            plain = " ".join(_BETWEEN_RUNS.sub("#", _BUSY.sub("", text)).split())
            outputs.append([output.output_type, sorted(data), plain])
        cells.append([cell.cell_type, cell.source, outputs])
    return cells


def main() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DASHSCOPE_")}
    environment["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(Path(folder), environment).nb
    nbformat.write(kept(notebook), NOTEBOOK)


if __name__ == "__main__":
    main()
