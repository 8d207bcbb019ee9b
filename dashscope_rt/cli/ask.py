"""``ask``: one question, the answer on stdout, exit. Made for pipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs
import click

import dashscope_rt as rt

from . import _files, _request
from ._display import Display, harmless
from ._options import connection_options, request_of, session_options, settings
from ._output import console, is_terminal, json_line, note, of_turn, people, summary
from ._session import opened
from ._tools import tools_of

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("text", nargs=-1)
@click.option("-a", "--audio", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
              help="Spoken question: WAV, .pcm (16-bit, 16 kHz, mono); - is stdin.")  # fmt: skip
@click.option("-i", "--image", "images", type=_FILE, multiple=True, help="A JPEG to go with it; may be given often.")
@click.option("-o", "--output", help="The spoken answer: a WAV (or .pcm) file; - is stdout.")
@click.option("--force", is_flag=True, help="Write over the output file.")
@click.option("--json", "as_json", is_flag=True, help="One object on stdout: transcripts, usage, timing, calls.")
@click.option("-q", "--quiet", is_flag=True, help="Nothing on stderr but errors.")
@session_options
@connection_options
def ask(
    text: tuple[str, ...],
    audio: Path | None,
    images: tuple[Path, ...],
    output: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Ask one question, in words, sound and pictures; the answer goes to stdout.

    Without any question it is read from stdin: sound or text. Without -o the model only writes.

    \b
    Examples:
      dashscope-rt ask "What is the capital of France?"
      dashscope-rt ask --audio question.wav -o answer.wav --json | jq .text
      dashscope-rt ask --audio question.wav --image photo.jpg
      dashscope-rt ask -f request.yaml --tool weather="python weather.py" "How warm is it?"
      arecord -d 5 -f S16_LE -r 16000 -t wav | dashscope-rt ask --audio -
    """
    if output == "-" and as_json:
        raise click.UsageError("-o - and --json both want stdout")
    target = Path(output) if output not in (None, "-") and output is not None else None
    if target is not None:
        _check_target(target, force=force)
    defaults = rt.SessionConfig(turn_detection=None)
    if output is None:
        defaults = rt.config.merge(defaults, modalities=["text"])
    chosen = settings(**options)
    request = request_of(chosen, defaults=defaults, **options)
    request = attrs.evolve(
        request,
        text=" ".join(text) or request.text,
        audio=audio or request.audio,
        images=images or request.images,
    )
    timeout = options["timeout"]
    rate = _input_rate(request)
    question = _question(request, rate)
    tools = tools_of(request.config, options["programs"], options["tool_files"])
    with opened(
        chosen, request, timeout=timeout, allow_unsupported=options["allow_unsupported"], record=options["record"],
        left_out=options["left_out"],
        tools=tools, say=None if quiet else lambda line: note(harmless(line)),
    ) as session:  # fmt: skip
        turn = session.ask(**question, images=request.images, stream=True, timeout=timeout)
        _show(turn, to_stdout=not as_json and output != "-", quiet=quiet)
    _keep(turn, output, target, force=force)
    if as_json:
        json_line(of_turn(turn, model=request.model, session_id=session.id, audio_file=str(target) if target else None))
    unanswered = sorted({call.name for call in turn.function_calls if not call.answered})
    if unanswered and not quiet:
        note(f"nobody answers {', '.join(unanswered)}; --tool NAME=COMMAND or --tools FILE.py would")
    if not quiet and (facts := summary(turn)):
        note(facts)


def _check_target(target: Path, *, force: bool) -> None:
    if target.is_dir() or not target.absolute().parent.is_dir():
        raise click.UsageError(f"{target} cannot be written: {'a folder' if target.is_dir() else 'no such folder'}")
    if target.exists() and not force:
        raise click.UsageError(f"{target} is there already; --force writes over it")


def _input_rate(request: _request.Request) -> int:
    rate = getattr(request.config.input_audio_format, "sample_rate", None)
    return rate if isinstance(rate, int) else rt.lookup(request.model).default_input_rate


def _question(request: _request.Request, rate: int) -> dict[str, Any]:
    """What to ask, read whole before anything is opened."""
    if request.audio is not None and str(request.audio) == "-":
        return {"audio": _spoken(rate), "text": request.text or None}
    if request.audio is not None:
        return {"audio": _files.load_audio(request.audio, rate), "text": request.text or None}
    if request.text == "-" or (not request.text and not request.images):
        if is_terminal(sys.stdin):
            raise click.UsageError("there is no question: give a text, --audio or --image")
        stdin = sys.stdin.buffer
        if _files.looks_like_audio(_files.peek(stdin)):
            return {"audio": _spoken(rate)}
        text = stdin.read().decode("utf-8", "replace").strip()
        if not text:
            raise click.UsageError("there is no question: stdin is empty, and no text, --audio or --image was given")
        return {"text": text}
    return {"text": request.text or None}


def _spoken(rate: int) -> bytes:
    pcm = b"".join(_files.pieces(sys.stdin.buffer, rate))
    if not pcm:
        raise click.UsageError("no audio came on stdin")
    return pcm


def _show(turn: rt.Turn, *, to_stdout: bool, quiet: bool) -> None:
    """The answer while it comes: live on a terminal, piece by piece into a pipe."""
    out = console()
    live = to_stdout and is_terminal(out.file)
    display = Display(out if live else people(), model_only=True)
    display.state("thinking")
    shown = False
    view: Any = display if (live or (not quiet and display.live)) else _Nothing()
    with view:
        try:
            for piece in turn:
                if piece.kind != "text":
                    continue
                shown = True
                if live:
                    display.said(piece.text)
                elif to_stdout:
                    sys.stdout.write(piece.text)
                    sys.stdout.flush()
        finally:  # after Ctrl-C too: what was said so far stays
            if live:
                display.over()
    if shown and to_stdout and not live:
        sys.stdout.write("\n")
        sys.stdout.flush()
    if turn.input_transcript and not quiet:
        note(f"understood: {harmless(turn.input_transcript)}")


class _Nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def _keep(turn: rt.Turn, output: str | None, target: Path | None, *, force: bool) -> None:
    if output is None:
        return
    pcm = turn.audio
    if not pcm and not turn.function_calls:
        raise click.ClickException("the answer has no sound to save: it was asked for as text only, or is empty")
    if output == "-":
        _files.to_stdout(pcm, turn.audio_rate)
    elif target is not None and pcm:
        _files.write_new(target, pcm, turn.audio_rate, force=force)
