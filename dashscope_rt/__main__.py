"""The command line: ``dashscope-rt``, also ``python -m dashscope_rt``.

``emulator`` and ``version`` work with what is there; every other command needs the extra ``cli``.
"""

from __future__ import annotations

import sys

_USAGE = """usage: dashscope-rt COMMAND

commands:
  emulator   run the service's emulator on this machine (extra: emulator); --help tells more
  version    print the version

chat, ask, transcribe, config, models, voices, record, replay, inspect, doctor, completion
need the extra cli: pip install "dashscope_rt[cli]"
"""
_LIBRARIES = frozenset({"click", "rich", "yaml", "platformdirs"})


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 service or network, 2 usage, 3 key refused, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    try:
        if command == "emulator":
            from .testing.command import main as emulator

            return emulator(rest)
        if command in ("version", "--version", "-V"):
            from ._version import __version__

            print(__version__)
            return 0
        try:
            from .cli.main import main as run
        except ModuleNotFoundError as error:
            if error.name not in _LIBRARIES:
                raise
            return _without_extra(command)
        return run(arguments)
    except KeyboardInterrupt:
        return 130


def _without_extra(command: str) -> int:
    if command in ("help", "--help", "-h"):
        print(_USAGE, end="")
        return 0
    print('error: this command needs the extra cli: pip install "dashscope_rt[cli]"', file=sys.stderr)
    print("hint: emulator and version work without it", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
