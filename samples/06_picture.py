"""Ask a question about a picture.

    python samples/06_picture.py samples/data/picture.jpg "What do you see?"

JPEG up to 1080p needs nothing else; other formats and large pictures the extra images. With DASHSCOPE_API_KEY set it
asks DashScope; without, the emulator (extra: emulator), which only measures the picture.
"""

import argparse
import contextlib
import os
import sys

import dashscope_rt as rt


def connect(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    print("DASHSCOPE_API_KEY is not set: asking the emulator.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator()).url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", nargs="+", help="one picture or several")
    parser.add_argument("question")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            client = connect(stack)
            session = stack.enter_context(client.session(options.model, turn_detection=None, modalities=["text"]))
            for piece in session.ask(text=options.question, images=options.picture, stream=True):
                print(piece.text, end="", flush=True)
            print()
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
