"""Show a video and ask a spoken question about it at the same time.

    python samples/07_video.py samples/data/clip.gif samples/data/question.wav

The video may be a folder of pictures, an animated GIF (extra: images) or a video file (extra: video); its frames go
along with the question, about one a second. With DASHSCOPE_API_KEY set it asks DashScope; without, the emulator (extra:
emulator).
"""

import argparse
import contextlib
import os
import sys

import dashscope_rt as rt
from dashscope_rt.audio import chunks, paced, read_wav


def connect(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    print("DASHSCOPE_API_KEY is not set: asking the emulator.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator()).url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video")
    parser.add_argument("question", help="a WAV file of 16,000 Hz")
    parser.add_argument("--fps", type=float, help="frames per second (default: what the model takes)")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            client = connect(stack)
            session = stack.enter_context(client.session(options.model, turn_detection=None))
            question = read_wav(options.question).to_mono()
            with rt.VideoFeed(session, options.video, fps=options.fps) as video:
                spoken = paced(chunks(question.pcm, 100, question.rate), question.rate)
                turn = session.ask(spoken)
            print(f"You:   {turn.input_transcript} (with {video.sent} frames)")
            print(f"Model: {turn.text}")
        except (rt.RealtimeError, ValueError, OSError, ImportError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
