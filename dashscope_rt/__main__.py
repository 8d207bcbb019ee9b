"""The command line: ``python -m dashscope_rt emulator --port 8765`` runs the emulator."""

from __future__ import annotations

import sys

_USAGE = """usage: python -m dashscope_rt COMMAND

commands:
  emulator   run the service's emulator on this machine (extra: emulator); --help tells more
  version    print the version
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 2 usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command == "emulator":
        from .testing.command import main as emulator

        return emulator(rest)
    if command in ("version", "--version", "-V"):
        from ._version import __version__

        print(__version__)
        return 0
    if command in ("help", "--help", "-h"):
        print(_USAGE, end="")
        return 0
    print(f"there is no command {command!r}\n\n{_USAGE}" if command else _USAGE, end="", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
