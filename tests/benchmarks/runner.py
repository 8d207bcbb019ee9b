"""Runs the clients against the load server, interleaved, and compares within each round."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.benchmarks import peers
from tests.benchmarks.pieces import AUDIO_BYTES
from tests.benchmarks.scenarios import DEPENDENCIES, OURS, SHARE, SPEED, Scenario

ROOT = Path(__file__).parent.parent.parent
_MODULES = {
    OURS: ("ours", "--plain"),
    SPEED: ("ours",),
    "bare": ("bare",),
    "websocket-client": ("websocket_client",),
    "websockets": ("websockets_sync",),
    "openai": ("openai_sync",),
    "official": ("official",),
    DEPENDENCIES: ("imports", "websocket, attrs, cattrs"),
}
Say = Callable[[str], None]


@dataclass
class Results:
    """What came out of one scenario.

    Attributes:
        scenario: As it was run.
        runs: For each client its runs, one a round; None where it failed.
    """

    scenario: Scenario
    runs: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)

    def figures(self, client: str, name: str = "value") -> list[float]:
        """Return one figure of all finished runs of a client."""
        return [run[name] for run in self.runs.get(client, []) if run is not None and run["finished"] and name in run]

    def median(self, client: str, name: str = "value") -> float | None:
        """Return the median of a figure; None without a finished run."""
        values = self.figures(client, name)
        return statistics.median(values) if values else None

    def latency(self, client: str, part: str) -> float | None:
        """Return the median of a percentile (p50, p99, p100) in ms, unfinished runs included."""
        runs = [run for run in self.runs.get(client, []) if run is not None and run.get("latency_ms")]
        return statistics.median(run["latency_ms"][part] for run in runs) if runs else None

    def best_ratio(self, client: str) -> float | None:
        """Return the client's best run by the baseline's best: what other programs on the machine disturb least."""
        mine, theirs = self.figures(client), self.figures(self.scenario.baseline)
        return min(mine) / min(theirs) if mine and theirs else None

    def ratio(self, client: str, name: str = "value") -> float | None:
        """Return the median of the client's ratios to the baseline of the same round, in one figure."""
        base = self.runs.get(self.scenario.baseline, [])
        pairs = zip(self.runs.get(client, []), base, strict=False)
        ratios = [
            mine[name] / theirs[name]
            for mine, theirs in pairs
            if mine is not None
            and theirs is not None
            and mine["finished"]
            and theirs["finished"]
            and theirs[name] > 0
        ]
        return statistics.median(ratios) if ratios else None


class LoadServer:
    """The server process and a trust store that knows its certificate beside the system's authorities."""

    def __init__(self) -> None:
        self._exit = contextlib.ExitStack()
        self._ports: dict[str, int] = {}
        self.environment: dict[str, str] = {}

    def __enter__(self) -> LoadServer:
        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory()))
        command = [sys.executable, "-m", "tests.benchmarks.server"]
        self.environment = {"PYTHONPATH": str(ROOT)}
        if self._certify(folder):
            command += ["--certificate", str(folder / "server.pem")]
            self.environment["SSL_CERT_FILE"] = str(folder / "trusted.pem")
        process = self._exit.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True)
        )
        self._exit.callback(process.kill)
        assert process.stdout is not None
        self._ports = json.loads(process.stdout.readline())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    @staticmethod
    def _certify(folder: Path) -> bool:
        try:
            import trustme
        except ImportError:
            return False
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        system = ssl.get_default_verify_paths().cafile
        # As in production, where every new context reads some 140 authorities: a store with one would flatter the rivals.
        trusted = Path(system).read_bytes() if system and Path(system).exists() else b""
        (folder / "trusted.pem").write_bytes(trusted + b"\n" + authority.cert_pem.bytes())
        return True

    def has(self, scenario: Scenario) -> bool:
        """Whether it can serve this scenario; without the package trustme there is no wss."""
        return ("wss" if scenario.secure else "ws") in self._ports

    def url(self, scenario: Scenario, dialect: str) -> str:
        """Return where a scenario is to be had."""
        scheme = "wss" if scenario.secure else "ws"
        idle = scenario.kind == "memory"
        warm, count = (1, 0) if idle else (scenario.warm, scenario.count)
        return f"{scheme}://127.0.0.1:{self._ports[scheme]}/{scenario.path}/{warm}/{count}/{dialect}"

    def stats(self) -> dict[str, Any]:
        """Return what it counted so far."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self._ports['ws']}/stats", timeout=10) as answer:
            said: dict[str, Any] = json.load(answer)
        return said


def run_client(
    server: LoadServer, scenario: Scenario, client: str, package: Path | None = None
) -> dict[str, Any] | None:
    """Run one client once; None when it failed or took too long.

    Args:
        server: Where to.
        scenario: What.
        client: Who; a name with ``@`` is ours from the directory ``package``.
        package: Where another copy of this package is.
    """
    program, *arguments = _MODULES[client.split("@", maxsplit=1)[0]]
    python = peers.python_of(client.split("@", maxsplit=1)[0])
    assert python is not None
    if scenario.kind == "flood":
        scenario = replace(scenario, count=int(scenario.count * SHARE.get(client, 1)))
    asked: dict[str, Any] = {"kind": scenario.kind, "count": scenario.count}
    if scenario.kind == "imports":
        ours = "dashscope_rt; dashscope_rt.RealtimeClient" if scenario.name == "import-client" else "dashscope_rt"
        program, arguments = "imports", arguments if client == DEPENDENCIES else [ours]
    else:
        dialect = "openai" if client == "openai" else scenario.dialect
        asked |= {"url": server.url(scenario, dialect), "warm": scenario.warm, "sessions": scenario.sessions}
        asked |= {"limit_s": scenario.limit_s / 2, "hog": scenario.hog, "beside": scenario.beside}
        asked["each"] = AUDIO_BYTES if scenario.path == "audio" else 0
    environment = {**os.environ, **server.environment}
    if package is not None:
        arguments += ["--package", str(package)]
        environment["PYTHONPATH"] = os.pathsep.join((str(package), environment["PYTHONPATH"]))
    command = [str(python), "-m", f"tests.benchmarks.clients.{program}", json.dumps(asked), *arguments]
    before = server.stats()
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=scenario.limit_s, check=False
        )
        figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        said = done.stderr.strip() if isinstance(error, (ValueError, IndexError)) else ""
        return {"finished": False, "failure": (said.splitlines() or [type(error).__name__])[-1][:300]}
    after = server.stats()
    figures["server_cpu_s"] = after["cpu_s"] - before["cpu_s"]
    if after.get("pongs"):
        figures["pongs"], figures["pong_max_ms"] = after["pongs"], after["pong_max_ms"]
    return figures


def measure(
    server: LoadServer,
    scenario: Scenario,
    *,
    rounds: int,
    only: tuple[str, ...] = (),
    package: Path | None = None,
    say: Say = print,
) -> Results:
    """Run everybody ``rounds`` times, round-robin; each round begins with somebody else."""
    results = Results(scenario)
    clients = []
    for client in scenario.clients:
        if only and client not in (*only, scenario.baseline):
            continue
        if peers.python_of(client) is None:
            say(f"  {client}: left out, its environment is not there; python -m tests.benchmarks.peers makes it")
        else:
            clients += [client, f"{client}@package"] if package is not None and client in (OURS, SPEED) else [client]
    for number in range(rounds):
        shift = number % len(clients) if clients else 0
        for client in clients[shift:] + clients[:shift]:
            run = run_client(server, scenario, client, package if "@" in client else None)
            results.runs.setdefault(client, []).append(run)
            say(f"  {scenario.name} {number + 1}/{rounds} {client:17} {describe(run)}")
    return results


def describe(run: dict[str, Any] | None) -> str:
    """Return a run in one line."""
    if run is None or "value" not in run:
        return f"failed: {(run or {}).get('failure', 'no figures')}"
    parts = [f"{run['value']:9.2f}", f"cpu {run['cpu_s']:.3f} s", f"wall {run['wall_s']:.3f} s"]
    if run.get("latency_ms"):
        parts.append("latency ms " + " ".join(f"{name} {value:.2f}" for name, value in run["latency_ms"].items()))
    if "wall_ms" in run:
        parts.append(f"wall {run['wall_ms']:.2f} ms each")
    if run.get("switches") and run["events"]:
        parts.append(
            f"system {run['system_s'] / run['cpu_s'] * 100:.0f} %, {run['switches'] / run['events']:.2f} switches"
        )
        parts.append(f"{run['page_faults'] / run['events']:.2f} faults")
    if run["wall_s"]:
        parts.append(f"server {run.get('server_cpu_s', 0) / run['wall_s'] * 100:.0f} %")
    if run.get("pong_max_ms"):
        parts.append(f"pong {run['pong_max_ms']:.1f} ms")
    if not run["finished"]:
        parts.append(f"NOT FINISHED ({run['events']} events)")
    return "  ".join(parts)


def measure_all(
    scenarios: list[Scenario], *, rounds: int, only: tuple[str, ...] = (), package: Path | None = None, say: Say = print
) -> Iterator[Results]:
    """Yield the results of each scenario."""
    with LoadServer() as server:
        for scenario in scenarios:
            if not server.has(scenario):
                say(f"{scenario.name}: left out, wss needs the package trustme")
                continue
            say(f"{scenario.name}: {scenario.title} ({scenario.unit})")
            yield measure(server, scenario, rounds=rounds, only=only, package=package, say=say)
