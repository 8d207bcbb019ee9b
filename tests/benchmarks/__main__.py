"""The command line: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks.runner import measure_all
from tests.benchmarks.scenarios import SCENARIOS, STREAMING


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure this package and its rivals."
    )
    parser.add_argument("scenario", nargs="*", help=f"one or more of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="shorter runs, two rounds")
    parser.add_argument("--rounds", type=int, help="how often everybody runs (default 5, quick 2)")
    parser.add_argument(
        "--only", action="append", default=[], choices=STREAMING, help="this client and the baseline; may repeat"
    )
    parser.add_argument("--package", type=Path, help="compare with another copy of the package, in this directory")
    asked = parser.parse_args()
    unknown = [name for name in asked.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    chosen = [SCENARIOS[name] for name in asked.scenario or SCENARIOS]
    if asked.quick:
        chosen = [scenario.quickly() for scenario in chosen]
    rounds = asked.rounds or (2 if asked.quick else 5)
    for results in measure_all(chosen, rounds=rounds, only=tuple(asked.only), package=asked.package):
        for client in results.runs:
            ratio = results.ratio(client)
            print(f"    {client:20} {results.median(client)}  ratio {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
