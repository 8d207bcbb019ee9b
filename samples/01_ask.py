"""Ask one spoken question and hear the answer.

    python samples/01_ask.py samples/data/question.wav [-o answer.wav]

With DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator on this machine (extra: emulator). Both
transcripts appear while they arrive; the spoken answer goes into a WAV file.
"""

import argparse
import contextlib
import os
import sys

import dashscope_rt as rt


def where_to_ask(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        print("Asking DashScope.")
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    emulator = stack.enter_context(Emulator(pace=1.0))
    print("DASHSCOPE_API_KEY is not set: asking the emulator, which plays back what it hears.")
    return rt.RealtimeClient("no-key-needed", url=emulator.url)


def show(turn: rt.Turn) -> None:
    """Print both transcripts as they come."""
    live = sys.stdout.isatty()  # previews are overwritten in place, which only a terminal can do
    speaker = ""
    for piece in turn:
        if piece.input_transcript:
            if speaker == "model":
                continue  # the final transcript may come after the answer began; it is printed at the end
            if live:
                print(f"\r\033[KYou:   {piece.input_transcript.text}", end="", flush=True)
                speaker = "you"
        elif piece.text:
            if speaker != "model":
                line = "" if live and speaker else f"You:   {turn.input_transcript}"
                print(f"{line}\nModel: ", end="")
                speaker = "model"
            print(piece.text, end="", flush=True)
    print()


def main() -> int:
    """Run the sample."""
    parser = argparse.ArgumentParser(description="Ask one spoken question and hear the answer.")
    parser.add_argument("question", help="a WAV file: 16-bit PCM, 16,000 Hz")
    parser.add_argument("-o", "--output", default="answer.wav", help="where the answer goes (default: answer.wav)")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            client = where_to_ask(stack)
            session = stack.enter_context(client.session(options.model, turn_detection=None))
            turn = session.ask(options.question, stream=True)
            show(turn)
            turn.save(options.output)
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    seconds = len(turn.audio) / 2 / turn.audio_rate
    print(
        f"{options.output}: {seconds:.1f} s of speech; first audio {turn.timing.latency_ms:.0f} ms after the question."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
