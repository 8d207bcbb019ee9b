"""The emulator as a command: ``python -m dashscope_rt emulator``.

The first line on the standard output is its address and nothing else; what is meant for people goes to the standard
error.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from .emulator import Emulator


def main(argv: Sequence[str] | None = None) -> int:
    """Run the emulator until SIGINT or SIGTERM.

    Args:
        argv: Arguments without the program's name; None takes ``sys.argv[1:]``.

    Returns:
        The exit status: 0 after a signal, 1 when it could not start or failed inside, 2 for wrong arguments (a script
        or a fault that is none among them) and for a missing extra.
    """
    options = _parser().parse_args(argv)
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if "list" in options.fault:
        from .faults import listing

        sys.stdout.write(listing())
        return 0
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape signal wants
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        emulator = Emulator(
            options.script,
            api_keys=options.key or None,
            pace=options.pace,
            tls=options.tls,
            port=options.port,
            faults=options.fault,
        )
        emulator.start()
    except (ImportError, OSError, ValueError) as exc:
        sys.stderr.write(f"error: the emulator cannot start: {exc}\n")
        return 2 if isinstance(exc, (ImportError, ValueError, FileNotFoundError)) else 1
    else:
        sys.stdout.write(f"{emulator.url}\n")
        sys.stdout.flush()
        keys = "the given API keys" if options.key else "any API key"
        sys.stderr.write(
            f"This is an emulator of the DashScope realtime service: no model is running. It takes {keys}.\n"
        )
        if emulator.ca_file is not None:
            sys.stderr.write(f"Its certificate is signed by {emulator.ca_file}\n")
        sys.stderr.flush()
        stop.wait()
        emulator.close()
        return 1 if emulator.records.failures else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_EXAMPLES = """\
examples:
  dashscope-rt emulator --port 8765
  dashscope-rt emulator --script answers.json --pace 0   the file's answers, at once
  dashscope-rt emulator --tls                            prints the CA, for --ca-file
  dashscope-rt emulator --fault list
  dashscope-rt emulator --fault reset@response.audio.delta:3 --fault drip

A script is a list of answers: texts, or objects such as
  ["Hello!", {"text": "Sunny.", "input_transcript": "How is the weather?"},
   {"function_calls": [{"name": "weather", "arguments": {"city": "Rome"}}]}]
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dashscope_rt emulator",
        description="The DashScope realtime service on this machine, without a model: it says what it heard.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0, the default, takes a free one")
    parser.add_argument("--pace", type=float, default=1.0, help="1 (default) answers in real time, 0 at once")
    parser.add_argument("--key", action="append", metavar="KEY", help="an API key to accept; without it any is good")
    parser.add_argument("--script", metavar="FILE", help="JSON file with the answers, see dashscope_rt.testing.Answer")
    parser.add_argument("--tls", action="store_true", help="wss with a certificate made for this run")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="what goes wrong, for example reset@response.audio.delta:3; may be given often; list shows them all",
    )
    parser.add_argument("--verbose", action="store_true", help="log connections to the standard error")
    return parser


if __name__ == "__main__":
    sys.exit(main())
