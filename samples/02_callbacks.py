"""Stream a recording in as if it were spoken, and take the answer with callbacks.

    python samples/02_callbacks.py samples/data/question.wav [-o answer.wav]

The service finds the turn by itself (voice activity detection). With DASHSCOPE_API_KEY set it talks to DashScope;
without, to the emulator on this machine (extra: emulator).
"""

import argparse
import contextlib
import os
import sys
import threading

import dashscope_rt as rt
from dashscope_rt.audio import WavWriter


def connect(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        return rt.RealtimeClient()
    from dashscope_rt.testing import Emulator

    print("DASHSCOPE_API_KEY is not set: talking to the emulator.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator(pace=1.0)).url)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", help="an audio file")
    parser.add_argument("-o", "--output", default="answer.wav", help="where the answer goes (default: answer.wav)")
    parser.add_argument("--model", default="qwen3.5-omni-flash-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        session = connect(stack).session(options.model, turn_detection=rt.ServerVad(silence_duration_ms=600))
        over = threading.Event()

        @session.on_open
        def opened(_event: rt.events.SessionCreated) -> None:
            print("The session is open.")

        @session.on_speech_stopped
        def noticed(_event: rt.events.InputAudioBufferSpeechStopped) -> None:
            print("The service noticed the end of the question.")

        @session.on_input_transcript
        def understood(transcript: rt.InputTranscript) -> None:
            if transcript.final:
                print(f"You:   {transcript.text}")

        @session.on_audio_delta
        def speak(event: rt.events.ResponseAudioDelta) -> None:
            answer.write(event.audio)

        @session.on_done
        def done(response: rt.Response) -> None:
            print(f"Model: {response.text}")
            over.set()

        @session.on_error
        def failed(error: rt.APIError) -> None:
            print(f"error: {error}", file=sys.stderr)

        @session.on_close
        def closed(_info: rt.CloseInfo) -> None:
            over.set()

        try:
            stack.enter_context(session)
            answer = stack.enter_context(WavWriter(options.output, session.output_rate))
            session.stream_audio(options.question)
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        in_time = over.wait(60)
    print(f"{options.output}: {answer.duration_ms / 1000:.1f} s of speech.")
    return 0 if in_time and answer.bytes_written else 1


if __name__ == "__main__":
    raise SystemExit(main())
