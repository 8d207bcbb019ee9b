"""Let the model call Python functions.

    python samples/04_tools.py ["What is the weather in Paris, and in Rome tomorrow?"]

With DASHSCOPE_API_KEY set it talks to DashScope; without, to the emulator on this machine (extra: emulator), which
plays a model that calls the function and reads out what it returns. What the model is told of a function comes from its
signature and its docstring; the calls run on threads of their own.
"""

import argparse
import contextlib
import os
import sys
from dataclasses import dataclass
from typing import Annotated, Literal

import dashscope_rt as rt


@dataclass
class Forecast:
    """What the function returns; the model gets it as JSON."""

    city: str
    sky: str
    degrees: float


def weather(city: Annotated[str, "The city's English name."], when: Literal["today", "tomorrow"] = "today") -> Forecast:
    """Tell the weather of a city.

    Args:
        city: Where; the hint above says it to the model.
        when: The day.
    """
    print(f"  weather({city!r}, {when!r})")
    known = {"Paris": Forecast("Paris", "cloudy", 17.5), "Rome": Forecast("Rome", "sunny", 24.0)}
    if city not in known:
        raise LookupError(f"no weather station in {city}")  # the model is told so in one line
    return known[city]


def where_to_ask(stack: contextlib.ExitStack) -> rt.RealtimeClient:
    """The service, or the emulator when there is no key."""
    if os.environ.get("DASHSCOPE_API_KEY"):
        print("Asking DashScope.")
        return rt.RealtimeClient()
    from dashscope_rt.testing import Answer, Emulator, FunctionCall, Heard

    def model(heard: Heard) -> Answer:
        if heard.function_outputs:
            return Answer(text="The functions say: " + "; ".join(heard.function_outputs.values()))
        rome = FunctionCall("weather", {"city": "Rome", "when": "tomorrow"})
        return Answer(function_calls=[FunctionCall("weather", {"city": "Paris"}), rome])

    print("DASHSCOPE_API_KEY is not set: asking the emulator.")
    return rt.RealtimeClient("no-key-needed", url=stack.enter_context(Emulator(answer=model)).url)


def main() -> int:
    """Run the sample."""
    parser = argparse.ArgumentParser(description="Let the model call Python functions.")
    parser.add_argument("question", nargs="?", default="What is the weather in Paris, and in Rome tomorrow?")
    parser.add_argument("--model", default="qwen3.5-omni-plus-realtime")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        try:
            client = where_to_ask(stack)
            session = stack.enter_context(
                client.session(options.model, tools=[weather], turn_detection=None, modalities=["text"])
            )
            print(f"You:   {options.question}")
            turn = session.ask(text=options.question)
        except (rt.RealtimeError, ValueError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(f"Model: {turn.text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
