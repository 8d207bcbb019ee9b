"""The command line: ``python -m tests.benchmarks --help``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.plot import svg
from tests.benchmarks.runner import ROOT, Results, measure_all
from tests.benchmarks.scenarios import SCENARIOS, STREAMING

_HERE = Path(__file__).parent


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
    parser.add_argument(
        "--write",
        action="store_true",
        help="write the table into the README, the plot and all figures beside this; scenarios that are not run keep theirs",
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.scenario if name not in SCENARIOS]
    if unknown:
        parser.error(f"there is no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    chosen = [SCENARIOS[name] for name in asked.scenario or SCENARIOS]
    if asked.quick:
        chosen = [scenario.quickly() for scenario in chosen]
    rounds = asked.rounds or (2 if asked.quick else 5)
    everything: list[Results] = []
    for results in measure_all(chosen, rounds=rounds, only=tuple(asked.only), package=asked.package):
        everything.append(results)
        print(report.summary(results), flush=True)
    if asked.write and asked.scenario:
        everything = report.merged(report.read_json(_HERE / "results.json"), everything)
    text = report.table(everything)
    print(f"\n{text}")
    if asked.write:
        report.write_json(_HERE / "results.json", everything)
        picture = svg(everything)
        if picture:
            (_HERE / "results.svg").write_text(picture, encoding="utf-8")
            text += "\n\n![CPU time per event, beside other clients](tests/benchmarks/results.svg)"
        report.write_readme(ROOT / "README.md", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
