"""Talk with the model: microphone, speaker, hands-free.

    python samples/03_microphone.py [--echo headset] [--record talk.wav]

Speak; Ctrl-C ends it. With --echo headset (wear one) you can interrupt the model by speaking. Needs the extra audio.
With --wav QUESTION there is no hardware: the file is spoken into a fake microphone, and the program ends after the
answer. With DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator (extra: emulator).
"""

import argparse
import contextlib
import os
import sys
import threading

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
    parser.add_argument("--microphone", help="part of the microphone's name")
    parser.add_argument("--speaker", help="part of the speaker's name")
    parser.add_argument("--echo", choices=("mute", "duck", "headset"), default="mute")
    parser.add_argument("--record", help="a stereo WAV file: left you, right the model")
    parser.add_argument("--wav", help="speak this file instead of you")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    answered = threading.Event()
    with contextlib.ExitStack() as stack:
        try:
            device = stack.enter_context(FakeDevice(options.wav)) if options.wav else None
            session = connect(stack).session(options.model)
            session.on_input_transcript(lambda said: said.final and print(f"You:   {said.text}"))
            session.on_interrupted(lambda cut: print(f"(interrupted after {cut.heard_ms / 1000:.1f} s)"))

            @session.on_done
            def done(response: rt.Response) -> None:
                print(f"Model: {response.text}")
                answered.set()

            talk = rt.Conversation(
                session,
                microphone=rt.Microphone(options.microphone, backend=device),
                speaker=rt.Speaker(options.speaker, backend=device),
                echo=options.echo,
                record=options.record,
            )
            stack.enter_context(talk)
            print("Speak. Ctrl-C ends the conversation.")
            if device is None:
                talk.wait()
            else:
                device.run()
                answered.wait(60)
                talk.speaker.wait_silent(60)
                print(f"{talk.speaker.heard_ms(talk.speaker.playhead.source) / 1000:.1f} s were heard.")
        except KeyboardInterrupt:
            print()
        except (rt.RealtimeError, ValueError, OSError, ImportError, LookupError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
