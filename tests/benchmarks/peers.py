"""The rivals, each in a virtual environment of its own, outside the tree: ``python -m tests.benchmarks.peers``."""

from __future__ import annotations

import argparse
import configparser
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def _of_the_package() -> tuple[str, ...]:
    """What this package needs with its extra ``speed``; the package itself is taken from the tree."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = setup["options"]["install_requires"] + "\n" + setup["options.extras_require"].get("speed", "")
    return tuple(line.strip() for line in lines.splitlines() if line.strip())


NEEDS = {
    "ours+speed": _of_the_package(),
    "websocket-client": ("websocket-client",),
    "websockets": ("websockets",),
    "openai": ("openai[realtime]",),
    "official": ("dashscope",),
}
_VARIABLE = "DASHSCOPE_RT_BENCHMARK_PEERS"


def home() -> Path:
    """Return the directory of the environments: of this Python's version, because only equals are compared."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(os.environ.get(_VARIABLE) or cache / "dashscope_rt-benchmarks" / version)


def python_of(client: str) -> Path | None:
    """Return the interpreter that runs a client; None when its environment was not made."""
    if client not in NEEDS:
        return Path(sys.executable)
    found = home() / client.replace("+", "-") / ("Scripts" if os.name == "nt" else "bin") / "python"
    here = client == "websocket-client" or (client == "ours+speed" and _has_speed())  # the first being a dependency
    if not found.exists() and here:
        return Path(sys.executable)
    return found if found.exists() else None


def _has_speed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("orjson", "pybase64", "websockets"))


def make(client: str) -> None:
    """Make or renew one environment."""
    where = home() / client.replace("+", "-")
    subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
    python = where / ("Scripts" if os.name == "nt" else "bin") / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--upgrade", *NEEDS[client]], check=True)


def versions(client: str) -> str:
    """Return what is installed, as in ``orjson 3.13``; "" when nothing is."""
    python = python_of(client)
    if python is None or client not in NEEDS:
        return ""
    names = [re.split(r"[^\w-]", need)[0] for need in NEEDS[client]]
    script = f"import importlib.metadata as m; print(', '.join(f'{{n}} {{m.version(n)}}' for n in {names!r}))"
    return subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=f"{__doc__} The directory is {home()}; {_VARIABLE} names another.")
    parser.add_argument("client", nargs="*", choices=[*NEEDS, []], help="all of them by default")
    failed = 0
    for client in parser.parse_args().client or NEEDS:
        try:
            make(client)
            print(f"{client}: {versions(client)}")
        except subprocess.CalledProcessError as error:
            failed += 1
            print(f"{client}: not installed ({error}); it is left out of the benchmarks", file=sys.stderr)
    return min(1, failed)


if __name__ == "__main__":
    sys.exit(main())
