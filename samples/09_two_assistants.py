"""Let two assistants talk with each other: each hears what the other says.

    python samples/09_two_assistants.py "Whether cats make good programmers." --rounds 2 -o dialogue.wav

Both voices go into a stereo WAV file, one on each side. With DASHSCOPE_API_KEY set it uses DashScope; without, the
emulator (extra: emulator), in which both repeat what they hear.
"""

import argparse
import contextlib
import os
import sys

import dashscope_rt as rt
from dashscope_rt.audio import WavWriter, silence, stereo

RATE = 16_000  # what one says, the other can hear as it is
CHARACTERS = {
    "Ada": "You are Ada, curious and brief. You talk with Ben. Answer in one sentence, and ask something back.",
    "Ben": "You are Ben, sceptical and brief. You talk with Ada. Answer in one sentence, and ask something back.",
}


def connect(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    print("DASHSCOPE_API_KEY is not set: both assistants are the emulator.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator()).url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("topic")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--output", default="dialogue.wav")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            client = connect(stack)
            sessions = {
                name: stack.enter_context(
                    client.session(
                        options.model,
                        instructions=instructions,
                        turn_detection=None,
                        output_audio_format=rt.AudioFormat(sample_rate=RATE),
                    )
                )
                for name, instructions in CHARACTERS.items()
            }
            recording = stack.enter_context(WavWriter(options.output, RATE, 2))
            said: bytes | None = None
            for _ in range(options.rounds):
                for name, session in sessions.items():
                    turn = session.ask(said) if said else session.ask(text=f"Begin a conversation. {options.topic}")
                    said = turn.audio + silence(500, RATE)
                    print(f"{name}: {turn.text}")
                    recording.write(stereo(said, bytes(len(said))) if name == "Ada" else stereo(bytes(len(said)), said))
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"{options.output}: {recording.duration_ms / 1000:.1f} s.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
