"""Push-to-talk: Enter begins a question, Enter ends it; the next Enter also interrupts the answer.

    python samples/05_push_to_talk.py

Needs the extra audio. With --wav QUESTION there is no hardware: the file is spoken into a fake microphone. With
DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator (extra: emulator).
"""

import argparse
import contextlib
import os
import sys

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice


def connect(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    print("DASHSCOPE_API_KEY is not set: talking to the emulator, which plays back what it hears.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator(pace=1.0)).url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wav", help="speak this file instead of you, at every question")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(FakeDevice().run()) if options.wav else None
            session = connect(stack).session(options.model, turn_detection=None)
            session.on_interrupted(lambda cut: print(f"(you heard: {cut.heard_text or 'nothing'})"))
            session.on_done(lambda response: response.status == "completed" and print(f"Model: {response.text}"))
            microphone, speaker = rt.Microphone(backend=device), rt.Speaker(backend=device)
            talk = stack.enter_context(rt.Conversation(session, microphone=microphone, speaker=speaker))
            while input("Enter to speak, q to quit: ") != "q":
                talk.press()
                if device is not None:
                    device.say(options.wav)
                input("Speaking. Enter when you are done: ")
                turn = talk.release()
                print("That was too short." if turn is None else "Asked.")
        except (KeyboardInterrupt, EOFError):
            print()
        except (rt.RealtimeError, ValueError, OSError, ImportError, LookupError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
