"""``record``, ``replay``, ``inspect``: a session in a file."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

import dashscope_rt as rt
from dashscope_rt.recording import Recording, Replay

from . import _files
from ._display import Display, harmless
from ._options import RECORDED, debug_option
from ._output import console, json_line, note, print_table, warn
from ._timeline import rows, totals

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--without", "left_out", multiple=True, type=click.Choice(RECORDED),
              help="Leave out what was said and written, the sound, the identifiers; may be given often.")  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("command", type=click.Choice(["ask", "chat"]))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def record(left_out: tuple[str, ...], file: Path, command: str, arguments: tuple[str, ...]) -> int:
    """Record a session of ask or chat into one file, without keys; a crash leaves what there was.

    The same as the options --record and --record-without of these commands.

    \b
    Examples:
      dashscope-rt record call.jsonl chat
      dashscope-rt record call.jsonl ask --audio question.wav
      dashscope-rt record --without texts --without audio call.jsonl chat
    """
    from .main import NAME, group

    without = [word for name in left_out for word in ("--record-without", name)]
    with group.make_context(NAME, [command, "--record", str(file), *without, *arguments]) as context:
        result = group.invoke(context)
    return result if isinstance(result, int) else 0


@click.command()
@click.argument("file", type=_FILE)
@click.option("--speed", type=click.FloatRange(0), default=1.0, show_default=True, help="1 as it was, 0 at once.")
@click.option("--json", "as_json", is_flag=True, help="The service's events, one per line.")
@click.option("--play", is_flag=True, help="Let it sound.")
@click.option("--serve", is_flag=True, help="Be the service: play it behind a socket, for clients to connect to.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve; 0 takes a free one.")
@debug_option
def replay(file: Path, speed: float, as_json: bool, play: bool, serve: bool, port: int) -> int:
    """Play a recording: show it as it went, or be the service that says it again.

    \b
    Examples:
      dashscope-rt replay call.jsonl --speed 4
      dashscope-rt replay call.jsonl --speed 0 --json | jq -r .type
      dashscope-rt replay call.jsonl --serve        prints the URL to connect to
    """
    recording = _read(file)
    if serve:
        return _serve(recording, speed, port)
    speaker = None
    if play:
        from dashscope_rt.audio import Speaker

        speaker = Speaker().open()
    display = Display(console())
    player = Replay(recording)
    if as_json:
        player.on(rt.AnyEvent)(lambda event: json_line(dict(event.raw)))
    else:
        player.on_input_transcript(lambda heard: display.heard(heard.text, final=heard.final))
        player.on_text_delta(lambda event: display.said(event.delta or ""))
        player.on_speech_started(lambda _event: display.state("you speak"))
        player.on_done(lambda response: display.over("" if response.status == "completed" else response.status))
        player.on_error(lambda error: display.line(f"error: {error}", "red"))
        player.on_close(lambda info: display.line(f"{info}", "dim"))
    if speaker is not None:
        player.on_audio_delta(lambda event: speaker.write(event.audio, event.response_id or ""))
    try:
        if as_json:
            player.run(speed)
        else:
            with display:
                player.run(speed)
                display.over()  # of an answer without an end: the recording was cut off there
    except BaseException:
        player.stop()
        raise
    finally:
        if speaker is not None:
            speaker.wait_silent(30.0)
            speaker.close()
    return 0


def _read(file: Path) -> Recording:
    try:
        recording = Recording.read(file)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if recording.torn:
        warn(f"{file} ends in the middle of a line: the program that made it was stopped; the rest is good")
    for problem in recording.problems[:3]:
        warn(f"{file}, {problem}")
    return recording


def _serve(recording: Recording, speed: float, port: int) -> int:
    from dashscope_rt.testing import Emulator, replaying

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with Emulator(hooks=replaying(recording, speed), port=port) as emulator:
        click.echo(emulator.url)
        note("This replays a recording: no model is running, and any API key is good. Ctrl-C ends it.")
        try:
            while not stop.wait(3600):
                pass
        except KeyboardInterrupt:
            return 0
    return 0


@click.command()
@click.argument("file", type=_FILE)
@click.option("--all", "every", is_flag=True, help="Every event, pieces of sound and text too.")
@click.option("--json", "as_json", is_flag=True, help="One object with what is in it.")
@click.option("--audio", "folder", type=click.Path(file_okay=False, path_type=Path),
              help="Put what was heard and said into this folder, as WAV files.")  # fmt: skip
@debug_option
def inspect(file: Path, every: bool, as_json: bool, folder: Path | None) -> None:
    """Show a recording as a timeline: what went there (→) and back (←), and when.

    \b
    Examples:
      dashscope-rt inspect call.jsonl
      dashscope-rt inspect call.jsonl --audio sounds/
    """
    recording = _read(file)
    if folder is not None:
        _extract(recording, folder)
    if as_json:
        json_line(totals(recording))
        return
    header = recording.header
    left_out = [name for name in ("texts", "audio", "ids") if header.get(name) is False]
    click.echo(
        f"{recording.model or 'no model'}, {recording.seconds:.1f} s, {len(recording.entries)} events,"
        f" recorded {header.get('created', 'some time')}" + (f", without {', '.join(left_out)}" if left_out else "")
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")  # a row is a line; into a pipe it goes whole
    for row in rows(recording, every=every):
        style = "red" if row.bad else {"→": "green", "←": "cyan"}.get(row.arrow, "yellow")
        table.add_row(f"{row.at:8.3f}", Text(row.arrow, style=style), Text(row.what, style=style), harmless(row.detail))
    print_table(table, 2000)


def _extract(recording: Recording, folder: Path) -> None:
    info = rt.lookup(recording.model)
    folder.mkdir(parents=True, exist_ok=True)
    said = b"".join(entry.media for entry in recording.entries if entry.type == "input_audio_buffer.append")
    answers: list[tuple[bytes, int]] = []
    player = Replay(recording)
    player.on_done(lambda response: answers.append((response.audio, response.audio_rate)))
    player.run(0)
    sounds: list[tuple[str, bytes, int]] = [("question", said, info.default_input_rate)]
    sounds += [(f"answer-{number:03}", pcm, rate) for number, (pcm, rate) in enumerate(answers, 1)]
    for name, pcm, rate in sounds:
        if pcm:
            path = folder / f"{name}.wav"
            _files.write_new(path, pcm, rate)
            note(str(path))
