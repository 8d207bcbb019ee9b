"""``transcribe``: what was said in sound files, several at once."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import click
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

import dashscope_rt as rt

from . import _files
from ._display import harmless
from ._options import Settings, connection_options, settings
from ._output import error_line, is_terminal, note, people, warn
from ._subtitles import Segment, formatted, in_order

_MODEL = "qwen3-asr-flash-realtime"
_SUFFIX = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "json": ".json"}
_PIECE_MS = 100
_TAIL_MS = 500
_VAD_MS = 800


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--format", "kind", type=click.Choice(list(_SUFFIX)), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="A file, or a folder for several.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("-l", "--language", help="The language, such as zh or en; default: found out.")
@click.option("-m", "--model", default=_MODEL, show_default=True, help="A speech recognition model, or an Omni model.")
@click.option("-j", "--jobs", type=click.IntRange(1, 32), default=4, show_default=True, help="Files at once.")
@click.option("--speed", type=click.FloatRange(0), default=3.0, show_default=True,
              help="How fast sound is sent: 1 real time, 0 as fast as it goes.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=60.0, show_default=True,
              help="Seconds to wait for the last words of a file.")  # fmt: skip
@connection_options
def transcribe(
    files: tuple[Path, ...],
    kind: str,
    output: Path | None,
    force: bool,
    jobs: int,
    **options: Any,
) -> int:
    """Write down what was said. A file that fails does not stop the others; the exit code is then 1.

    FILE - is stdin: a WAV file, or raw PCM (16-bit, 16 kHz, mono).

    \b
    Examples:
      dashscope-rt transcribe talk.wav
      dashscope-rt transcribe talk.wav --format srt -o talk.srt
      dashscope-rt transcribe *.wav --format vtt -o subtitles/
      ffmpeg -i film.mp4 -f wav - | dashscope-rt transcribe - --format srt -o film.srt
    """
    if len(files) > 1 and output is None and kind in ("srt", "vtt"):
        raise click.UsageError(f"several files as {kind.upper()} need a folder: -o DIR")
    targets = [_target(file, kind, output, several=len(files) > 1, force=force) for file in files]
    written = [target for target in targets if target is not None]
    if len(set(written)) < len(written):
        raise click.UsageError("two of the files would be written to the same place; give them other names")
    if sum(str(file) == "-" for file in files) > 1:
        raise click.UsageError("stdin can be read once: give - once")
    chosen = settings(**options)
    job = _Job(chosen, **{name: options[name] for name in ("model", "language", "speed", "timeout")})
    failed: list[Exception] = []
    with _progress() as progress, ThreadPoolExecutor(jobs, thread_name_prefix="dashscope-rt-transcribe") as pool:
        try:
            results = [pool.submit(job.run, file, _meter(progress, file)) for file in files]
            for file, target, result in zip(files, targets, results, strict=True):
                with contextlib.suppress(Exception):
                    result.result()  # the bars stay while it is waited for
                with _out_of_the_way(progress):
                    error = _write(file, target, result, kind=kind, several=len(files) > 1)
                if error is not None:
                    failed.append(error)
        except BaseException:  # Ctrl-C: the pool waits for its threads, which must therefore end
            job.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    if len(failed) == 1 and len(files) == 1:
        raise failed[0]
    if len(files) > 1 and failed:
        note(f"{len(failed)} of {len(files)} files failed", "red")
    keys = [error for error in failed if isinstance(error, rt.AuthenticationError)]
    return 3 if keys and len(keys) == len(files) else 1 if failed else 0


def _target(file: Path, kind: str, output: Path | None, *, several: bool, force: bool) -> Path | None:
    if output is None:
        return None
    folder = several or output.is_dir()
    stem = "stdin" if str(file) == "-" else file.stem
    target = output / (stem + _SUFFIX[kind]) if folder else output
    if folder:
        output.mkdir(parents=True, exist_ok=True)
    if target.exists() and not force:
        raise click.UsageError(f"{target} is there already; --force writes over it")
    return target


@contextlib.contextmanager
def _out_of_the_way(progress: Progress) -> Iterator[None]:
    progress.stop()
    try:
        yield
    finally:
        progress.start()


def _write(
    file: Path, target: Path | None, result: Future[_Transcript], *, kind: str, several: bool
) -> Exception | None:
    try:
        found = result.result()
        text = formatted(kind, found.segments, name=str(file), seconds=found.seconds)
        if target is not None:
            target.write_text(text, encoding="utf-8")
            note(f"{file} → {target}")
        else:
            if several and kind == "text":
                sys.stdout.write(f"== {file} ==\n")
            sys.stdout.write(text)
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 — whatever is wrong with this file, the others go on
        if several:
            text = str(error)
            error_line(text if str(file) in text else f"{file}: {text}")
            if kind == "json" and target is None:
                sys.stdout.write(f"{_failure(file, text)}\n")
        return error
    if not found.segments:
        note(f"{file}: no speech was heard", "yellow")
    return None


def _failure(file: Path, text: str) -> str:
    import json

    return json.dumps({"file": str(file), "error": text}, ensure_ascii=False)


def _progress() -> Progress:
    target = people()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
        console=target,
        transient=True,
        redirect_stdout=False,  # it may be a pipe, and is not ours
        redirect_stderr=False,
        disable=not is_terminal(target.file),
    )


def _meter(progress: Progress, file: Path) -> Callable[[float], None]:
    task: TaskID = progress.add_task(escape(harmless(file.name)), total=1.0)
    return lambda share: progress.update(task, completed=share)


@attrs.frozen(kw_only=True)
class _Transcript:
    segments: list[Segment]
    seconds: float


class _Job:
    """Transcribes files, each in a session of its own, on any number of threads."""

    def __init__(self, chosen: Settings, *, model: str, language: str | None, speed: float, timeout: float) -> None:
        self._client = chosen.client(turn=timeout)
        self._model = model
        self._language = language
        self._speed = speed
        self._timeout = timeout
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # guards the sessions
        self._sessions: set[rt.RealtimeSession] = set()

    def stop(self) -> None:
        """End all that run, soon."""
        self._stopped.set()
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            with contextlib.suppress(rt.RealtimeError):
                session.close(0.5)

    def run(self, file: Path, meter: Callable[[float], None]) -> _Transcript:
        """Transcribe one file.

        Raises:
            RealtimeError: The service refused it, or did not answer in time.
            ValueError, OSError: The file cannot be read.
        """
        info = rt.lookup(self._model)
        sound = _files.Sound(file, info.default_input_rate)
        session = self._client.session(self._model, self._config(info))
        listener = _Listener(session)
        with self._lock:
            self._sessions.add(session)
        try:
            with session:
                self._feed(session, sound, meter)
                listener.wait(self._timeout, self._stopped)
        finally:
            with self._lock:
                self._sessions.discard(session)
        if sound.total_ms is not None and sound.sent_ms < sound.total_ms - 2 * _PIECE_MS:
            warn(f"{file} is cut off: {sound.sent_ms / 1000:.1f} s of {sound.total_ms / 1000:.1f} s are there")
        segments = in_order(listener.segments(), round(sound.sent_ms))
        return _Transcript(segments=segments, seconds=sound.sent_ms / 1000)

    def _config(self, info: rt.ModelInfo) -> rt.SessionConfig:
        fields: dict[str, Any] = {}
        transcription: dict[str, Any] = {"language": self._language} if self._language else {}
        if info.creates_responses:  # a model that talks is to listen only
            fields["turn_detection"] = rt.ServerVad(silence_duration_ms=_VAD_MS, create_response=False)
            fields["modalities"] = ["text"]
            transcription["model"] = _MODEL
        elif info.vad_types:
            fields["turn_detection"] = rt.ServerVad(silence_duration_ms=_VAD_MS)
        if transcription:
            fields["input_audio_transcription"] = transcription
        return rt.SessionConfig(**fields)

    def _feed(self, session: rt.RealtimeSession, sound: _files.Sound, meter: Callable[[float], None]) -> None:
        rate = session.input_rate
        began = time.monotonic()
        for piece in sound.chunks(_PIECE_MS):
            if self._speed:
                due = began + (sound.sent_ms - _PIECE_MS) / 1000 / self._speed
                self._stopped.wait(max(0.0, due - time.monotonic()))
            if self._stopped.is_set():
                raise rt.ConnectionClosed("interrupted")
            session.append_audio(piece)
            if sound.total_ms:
                meter(min(0.95, 0.95 * sound.sent_ms / sound.total_ms))
        for _ in range((_VAD_MS + _TAIL_MS) // _PIECE_MS + 1):
            session.append_audio(rt.audio.silence(_PIECE_MS, rate))


class _Listener:
    """Collects what was said when; callbacks run on the session's reader thread."""

    def __init__(self, session: rt.RealtimeSession) -> None:
        self._session = session
        self._changed = threading.Condition()  # guards what follows
        self._times: dict[str, list[int | None]] = {}
        self._texts: dict[str, rt.InputTranscript] = {}
        self._open: set[str] = set()  # items whose transcript is to come
        self._speaking = False
        self._error: rt.RealtimeError | None = None
        session.on("input_audio_buffer.speech_started")(self._started)
        session.on("input_audio_buffer.speech_stopped")(self._ended)
        session.on("input_audio_buffer.committed")(self._committed)
        session.on("conversation.item.input_audio_transcription.failed")(self._failed)
        session.on_input_transcript(self._heard)
        session.on_error(self._refused)

    def _started(self, event: Any) -> None:
        with self._changed:
            self._speaking = True
            self._times.setdefault(event.item_id or "", [event.audio_start_ms, None])

    def _ended(self, event: Any) -> None:
        with self._changed:
            self._speaking = False
            self._times.setdefault(event.item_id or "", [None, None])[1] = event.audio_end_ms
            self._changed.notify_all()

    def _committed(self, event: Any) -> None:
        with self._changed:
            self._speaking = False
            if (event.item_id or "") not in self._texts:
                self._open.add(event.item_id or "")
            self._changed.notify_all()

    def _heard(self, heard: rt.InputTranscript) -> None:
        if heard.final:
            with self._changed:
                self._texts[heard.item_id or ""] = heard
                self._open.discard(heard.item_id or "")
                self._changed.notify_all()

    def _failed(self, event: Any) -> None:
        detail = getattr(event, "error", None)
        self._refused(rt.APIError(getattr(detail, "message", None) or "a piece of the audio could not be transcribed"))

    def _refused(self, error: rt.APIError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def wait(self, timeout: float, stopped: threading.Event) -> None:
        """Wait for the last words.

        Raises:
            RealtimeError: Something was refused, or did not come in time.
        """
        session = self._session
        if session.model.session_finish:
            session.finish(timeout)
        deadline = time.monotonic() + timeout
        settled = 0.0
        with self._changed:
            while True:
                if self._error is not None:
                    raise self._error
                now = time.monotonic()
                if stopped.is_set() or not session.is_open:
                    raise rt.ConnectionClosed(f"the session ended: {session.close_info}", session.close_info)
                if self._speaking or self._open:
                    settled = 0.0
                elif session.model.session_finish or (settled and now - settled > 0.5):
                    return
                else:
                    settled = settled or now
                if now > deadline:
                    raise rt.DeadlineExceeded(f"the last words did not come within {timeout:g} s")
                self._changed.wait(0.1)

    def segments(self) -> list[Segment]:
        """What was said, in the order in which it was."""
        found = []
        last = 0
        for item_id, heard in self._texts.items():
            start, end = self._times.get(item_id, [None, None])
            start = last if start is None else start
            last = start if end is None else end
            if heard.text.strip():
                found.append(Segment(start_ms=start, end_ms=last, text=heard.text.strip(), language=heard.language))
        return found
