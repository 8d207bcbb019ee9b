"""Moving pictures: a camera, a file or a folder, at n frames a second, beside the audio and never ahead of it."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from .audio.pacing import Pacer
from .errors import DeadlineExceeded, RealtimeError
from .images import Image, prepare
from .session import RealtimeSession

__all__ = ["VideoFeed", "read_video"]

_log = logging.getLogger("dashscope_rt")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
_PATIENCE_S = 2.0  # a frame that has waited so long for audio is thrown away


class VideoFeed:
    """Sends pictures to a session while it is open.

        with VideoFeed(session, camera.read_frame):
            session.stream_audio("question.wav")

    Frames go out on a thread of its own, at most ``fps`` a second, and only when audio of the same turn has gone before
    (the service refuses others). A frame that has not left when the next one comes makes room for it.

    Args:
        session: An open session.
        source: A function that returns a camera's newest picture (None: there is none at the moment), an iterable whose
            pictures are sent one by one, or a path: a folder of pictures, an animated GIF or WebP (extra ``images``),
            or a video file (extra ``video``). Files play in real time. For what a picture may be see
            `RealtimeSession.append_image`.
        fps: Frames per second; None takes what the model is documented for, about one.

    Raises:
        ValueError: ``fps`` is not positive, or the path is nothing that can be played.
        ImportError: An extra is missing; the message names it.
        OSError: A file cannot be read.

    Attributes:
        sent: Frames handed to the session.
        skipped: Frames that were left out: no audio had gone before, or they could not be read.
        error: Why it stopped early, if it did.
    """

    def __init__(
        self,
        session: RealtimeSession,
        source: Callable[[], Image | None] | Iterable[Image] | str | os.PathLike[str],
        *,
        fps: float | None = None,
    ) -> None:
        advised = session.model.max_image_rate or 1.0
        fps = advised if fps is None else fps
        if not fps > 0:
            raise ValueError(f"fps must be more than 0, not {fps}")
        if fps > advised:
            _log.warning("%g frames a second are more than the %g that %s takes", fps, advised, session.model.name)
        self._session = session
        self._fps = fps
        self._frames = _frames(source, fps)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.sent = 0
        self.skipped = 0
        self.error: Exception | None = None

    def start(self) -> VideoFeed:
        """Begin to send."""
        if self._thread is not None:
            raise RuntimeError("the video has started already")
        self._thread = threading.Thread(target=self._run, name="dashscope_rt-video", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop; may be called again."""
        self._stop.set()
        self._session._wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(self._session.timeouts.send + 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until a source that ends has ended; returns whether it has."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is not None and not self._thread.is_alive()

    def __enter__(self) -> VideoFeed:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<VideoFeed {self._fps:g} fps, {self.sent} sent, {self.skipped} skipped>"

    def _run(self) -> None:
        pacer = Pacer(sleep=self._stop.wait)
        try:
            for frame in self._frames:
                pacer.wait(1000 / self._fps)
                if self._stop.is_set():
                    return
                if frame is None:
                    continue
                if self._send(frame):
                    self.sent += 1
                else:
                    self.skipped += 1
        except (RealtimeError, OSError, ValueError, ImportError) as error:
            self.error = error
            _log.info("the video stops: %s", error)

    def _send(self, frame: Image) -> bool:
        session = self._session
        try:
            jpeg = prepare(frame, session.model.max_image_base64_bytes)
        except ValueError as error:
            _log.warning("a frame is left out: %s", error)
            return False
        if not session.has_audio and not self._until_audio():
            return False
        try:
            session.append_image(jpeg, newest_only=True)
        except DeadlineExceeded as error:
            _log.warning("a frame is left out: %s", error)
            return False
        return True

    def _until_audio(self) -> bool:
        # At most until the next frame is due: then that one is newer.
        connection = self._session._open_connection()
        deadline = time.monotonic() + min(1 / self._fps, _PATIENCE_S)
        with contextlib.suppress(DeadlineExceeded):
            connection.wait_until(lambda: connection.has_audio or self._stop.is_set(), deadline, "audio")
        return connection.has_audio and not self._stop.is_set()


def _frames(source: Any, fps: float) -> Iterator[Image | None]:
    if isinstance(source, (str, os.PathLike)):
        return iter(read_video(source, fps))
    if callable(source):
        return _asked(source)
    if isinstance(source, Iterable):
        return iter(source)
    raise TypeError(f"video comes from a function, an iterable or a path, not {type(source).__name__}")


def _asked(camera: Callable[[], Image | None]) -> Iterator[Image | None]:
    while True:
        yield camera()


def read_video(path: str | os.PathLike[str], fps: float = 1.0) -> Iterable[Image]:
    """Return the pictures of a video as a camera with ``fps`` frames a second would see them.

    Args:
        path: A folder of pictures (each is one frame, in the order of their names), an animated GIF or WebP, or a video
            file.
        fps: Frames per second of video time.

    Raises:
        ValueError: It cannot be played.
        ImportError: It needs the extra ``images`` or ``video``.
        OSError: It cannot be read.
    """
    place = Path(path)
    if place.is_dir():
        pictures = sorted(file for file in place.iterdir() if file.suffix.lower() in _PICTURES)
        if not pictures:
            raise ValueError(f"{place} holds no pictures ({', '.join(sorted(_PICTURES))})")
        return pictures
    with place.open("rb") as file:
        head = file.read(12)
    if head[:4] == b"GIF8" or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        frames = _animation(place, _library("PIL.Image", place, "images"))
    else:
        frames = _video(place, _library("av", place, "video"))
    first = next(frames, None)  # a file that cannot be played is told now
    if first is None:
        raise ValueError(f"{place} has no pictures")
    return _sampled(itertools.chain((first,), frames), fps)


def _library(name: str, path: Path, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f'{path} needs {name.partition(".")[0]}: pip install "dashscope_rt[{extra}]"') from error


def _animation(path: Path, pillow: Any) -> Iterator[tuple[float, Image]]:
    at = 0.0
    with pillow.open(path) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            yield at, picture.convert("RGB")
            at += picture.info.get("duration", 100) / 1000


def _video(path: Path, av: Any) -> Iterator[tuple[float, Image]]:
    try:
        container = av.open(os.fspath(path))
    except av.FFmpegError as error:
        raise ValueError(f"{path} is not a video that can be played: {error}") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"{path} has no pictures")
        for frame in container.decode(video=0):
            yield float(frame.time or 0.0), frame.to_image()


def _sampled(frames: Iterator[tuple[float, Image]], fps: float) -> Iterator[Image]:
    """For every moment of 1/fps seconds the picture that is shown then."""
    due = 0.0
    shown: Image | None = None
    for at, frame in frames:
        while shown is not None and at > due + 1e-6:
            yield shown
            due += 1 / fps
        shown = frame
    if shown is not None:
        yield shown
