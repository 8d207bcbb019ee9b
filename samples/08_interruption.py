"""Interrupt the model, and see what was really heard of its answer.

    python samples/08_interruption.py samples/data/question.wav

There is no hardware in this one: the question is spoken into a fake microphone, and once more while the answer sounds.
What comes out of the fake speaker goes into a WAV file. With DASHSCOPE_API_KEY set it talks to DashScope; without, to
the emulator (extra: emulator).
"""

import argparse
import contextlib
import os
import sys
import threading
import time

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
    parser.add_argument("question", help="an audio file")
    parser.add_argument("--after", type=float, default=1.0, help="s of the answer before it is interrupted")
    parser.add_argument("-o", "--output", default="heard.wav", help="what came out of the speaker")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    sounds, over, responses = threading.Event(), threading.Semaphore(0), []
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(FakeDevice(options.question))
            session = connect(stack).session(options.model, turn_detection=rt.ServerVad(silence_duration_ms=500))
            session.on_audio_delta(lambda event: sounds.set())

            @session.on_interrupted
            def interrupted(cut: rt.Interruption) -> None:
                print(f"Interrupted by {cut.by} after {cut.heard_ms:.0f} ms; heard: {cut.heard_text!r}")

            @session.on_done
            def done(response: rt.Response) -> None:
                responses.append(response)
                over.release()

            speaker = rt.Speaker(backend=device)
            microphone = rt.Microphone(backend=device)
            stack.enter_context(rt.Conversation(session, microphone=microphone, speaker=speaker, echo="headset"))
            device.run()
            if sounds.wait(60):
                time.sleep(options.after)  # as long as a person listens before something comes to mind
                print("Speaking into the answer.")
                device.say(options.question)
            for _ in range(2):
                over.acquire(timeout=60)
            speaker.wait_silent(60)
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    for response in responses:
        print(f"{response.status}: {response.heard_ms:.0f} ms heard of {len(response.audio) / 48:.0f} ms that came.")
    device.save(options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
