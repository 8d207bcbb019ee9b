"""Pictures: everything that is one becomes a JPEG the service takes, audio goes first, video is never ahead of it."""

from __future__ import annotations

import base64
import io
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dashscope_rt as rt
from dashscope_rt.audio import FakeDevice
from dashscope_rt.images import jpeg_size, prepare
from dashscope_rt.testing import Emulator
from dashscope_rt.video import read_video
from tests.peer import SOON

from .talk import MODEL, speech

Pillow = pytest.importorskip("PIL.Image")
LIMIT = 262_144


def picture(width: int, height: int, kind: str = "JPEG", mode: str = "RGB", noise: bool = False, **more: Any) -> bytes:
    if noise:
        import random

        made = Pillow.frombytes("RGB", (width, height), random.Random(7).randbytes(width * height * 3)).convert(mode)
    else:
        made = Pillow.new(mode, (width, height))
    out = io.BytesIO()
    made.save(out, kind, **more)
    return out.getvalue()


SMALL = picture(64, 48)


# prepare


def test_a_jpeg_that_fits_goes_as_it_is() -> None:
    assert prepare(SMALL, LIMIT) is SMALL
    full = picture(1920, 1080)
    assert prepare(full, LIMIT) == full
    tall = picture(1080, 1920)
    assert prepare(tall, LIMIT) == tall


def test_bytes_paths_files_pillow_images_and_arrays_are_all_taken(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "p.jpg"
    path.write_bytes(SMALL)
    with path.open("rb") as file:
        for given in (SMALL, bytearray(SMALL), memoryview(SMALL), path, str(path), file):
            assert prepare(given, LIMIT) == SMALL
    for given in (Pillow.new("RGB", (64, 48)), numpy.zeros((48, 64, 3), "uint8"), numpy.zeros((48, 64), "uint8")):
        assert jpeg_size(prepare(given, LIMIT)) == (64, 48)


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [(4000, 3000, (1440, 1080)), (3000, 4000, (1080, 1440)), (7680, 1080, (1920, 270)), (100, 5000, (38, 1920))],
)
def test_a_large_picture_is_made_smaller_in_its_own_shape(width: int, height: int, size: tuple[int, int]) -> None:
    assert jpeg_size(prepare(picture(width, height), LIMIT)) == size


def test_a_heavy_picture_is_made_lighter_until_it_fits() -> None:
    noisy = picture(1920, 1080, noise=True, quality=95)
    assert len(noisy) > LIMIT
    made = prepare(noisy, LIMIT)
    assert len(base64.b64encode(made)) <= LIMIT
    assert min(jpeg_size(made) or (0, 0)) > 300, "and not more than that"


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("PNG", "I;16")]
)
def test_other_formats_become_jpeg(kind: str, mode: str) -> None:
    made = prepare(picture(64, 48, kind, mode), LIMIT)
    assert made[:3] == b"\xff\xd8\xff"
    assert jpeg_size(made) == (64, 48)


def test_what_is_transparent_becomes_white() -> None:
    made = prepare(picture(8, 8, "PNG", "RGBA"), LIMIT)
    assert Pillow.open(io.BytesIO(made)).getpixel((4, 4)) == (255, 255, 255)


def test_a_picture_taken_with_a_turned_camera_is_turned_back() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = picture(64, 48, exif=exif)
    assert jpeg_size(prepare(turned, LIMIT)) == (48, 64)
    exif[0x0112] = 1
    upright = picture(64, 48, exif=exif)
    assert prepare(upright, LIMIT) == upright


def test_without_the_extra_a_picture_is_checked_and_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    big, png = picture(4000, 3000), picture(8, 8, "PNG")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert prepare(SMALL, LIMIT) == SMALL
    for given, says in (
        (big, r"4,000 x 3,000 pixels.*dashscope_rt\[images\]"),
        (png, r"a PNG.*convert.*dashscope_rt\[images\]"),
        (SMALL + bytes(LIMIT), r"at most 196,608.*dashscope_rt\[images\]"),
    ):
        with pytest.raises(ValueError, match=says):
            prepare(given, LIMIT)
    with pytest.raises(ValueError, match=r"needs Pillow.*dashscope_rt\[images\]"):
        prepare(Pillow.new("RGB", (8, 8)), LIMIT)


@pytest.mark.parametrize(
    ("given", "says"),
    [(b"hello", "no JPEG"), (b"", "empty"), (b"\x89PNG broken", "PNG"), (7, "not int"), (None, "not NoneType")],
)
def test_what_is_no_picture_is_refused(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        prepare(given, LIMIT)


def test_an_array_of_another_kind_is_refused_with_what_it_should_be() -> None:
    numpy = pytest.importorskip("numpy")
    for wrong in (numpy.zeros((4, 4, 3)), numpy.zeros((4, 4, 2), "uint8"), numpy.zeros((0, 4), "uint8")):
        with pytest.raises(ValueError, match="uint8 with the shape"):
            prepare(wrong, LIMIT)


# Audio first


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator
        emulator.check()


def opened(emulator: Emulator, **options: Any) -> rt.RealtimeSession:
    return rt.RealtimeClient("sk-test", url=emulator.url).session(MODEL, **options)


def test_silence_goes_before_a_picture_without_audio_and_it_is_said(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dashscope_rt")
    with opened(emulator, turn_detection=None) as session:
        session.append_image(SMALL)
        session.append_image(SMALL)
        session.wait_ack(session.commit())
        session.append_image(SMALL)  # a committed turn counts as empty
        session.wait_ack(session.clear_audio())
        session.append_image(SMALL)
        session.append_audio(speech(200).pcm)
        session.append_image(SMALL)
        session.wait_ack(session.commit())
    short = {"input_audio_buffer.append": "audio", "input_image_buffer.append": "image"}
    kinds = [short.get(record.type, record.type.rpartition(".")[2]) for record in emulator.received]
    assert kinds == [
        "update", "audio", "image", "image", "commit", "audio", "image", "clear", "audio", "image", "audio", "image",
        "commit",
    ]  # fmt: skip
    assert [record.message for record in caplog.records].count(
        "no audio yet in this turn: 1000 ms of silence go before the picture, which must not lead"
    ) == 3
    assert "error" not in [record.type for record in emulator.sent]


def test_a_picture_after_the_vads_commit_gets_audio_first_as_well(emulator: Emulator) -> None:
    with opened(emulator, turn_detection=rt.ServerVad(silence_duration_ms=300)) as session:
        with session.expect("response.done") as done:  # in one piece: what is appended after the commit counts for the next
            session.append_audio(speech(500).pcm + bytes(2 * 16 * 500))
            done.wait()
        assert not session.has_audio
        session.append_image(SMALL)
        assert session.has_audio
        session.wait_ack(session.update(instructions="Be brief."))
    assert "error" not in [record.type for record in emulator.sent]


def test_a_question_may_bring_pictures_of_any_kind(emulator: Emulator) -> None:
    with opened(emulator, turn_detection=None) as session:
        turn = session.ask(text="What is this?", images=[picture(4000, 3000), picture(64, 48, "PNG")])
    assert "2 images: 1440 x 1080 pixels, 64 x 48 pixels" in turn.text


# VideoFeed


def frames_of(emulator: Emulator) -> list[tuple[int, int] | None]:
    records = [record for record in emulator.received if record.type == "input_image_buffer.append"]
    return [jpeg_size(base64.b64decode(record.event["image"])) for record in records]


def test_video_waits_for_the_audio_of_its_turn(emulator: Emulator) -> None:
    with opened(emulator, turn_detection=None) as session:
        with rt.VideoFeed(session, [SMALL] * 3, fps=50) as video:
            assert video.wait(SOON)
        assert (video.sent, video.skipped) == (0, 3)
        session.append_audio(speech(200).pcm)
        with rt.VideoFeed(session, [SMALL] * 3, fps=50) as video:
            assert video.wait(SOON)
        assert (video.sent, video.skipped, video.error) == (3, 0, None)
        session.wait_ack(session.commit())
    assert [record.type for record in emulator.received][1] == "input_audio_buffer.append"
    assert 1 <= len(frames_of(emulator)) <= 3, "a frame that has not left makes room for the next"
    assert "error" not in [record.type for record in emulator.sent]


def test_a_frame_that_waits_for_audio_is_woken_by_it_or_by_the_end(emulator: Emulator) -> None:
    asked = threading.Event()

    def camera() -> bytes:
        asked.set()
        return SMALL

    with opened(emulator, turn_detection=None) as session:
        with rt.VideoFeed(session, camera, fps=0.01) as video:  # waits for 2 s, were nothing to wake it
            assert asked.wait(SOON)
            start = time.monotonic()
        assert time.monotonic() - start < 1.5
        assert video.sent == 0
        with rt.VideoFeed(session, camera, fps=0.01):
            session.append_audio(speech(200).pcm)
            emulator.wait_for("input_image_buffer.append")
    assert "error" not in [record.type for record in emulator.sent]


def test_a_camera_is_asked_once_for_every_frame_until_the_feed_is_closed(emulator: Emulator) -> None:
    asked = threading.Semaphore(0)

    def camera() -> bytes | None:
        asked.release()
        return SMALL

    with opened(emulator, turn_detection=None) as session:
        session.append_audio(speech(200).pcm)
        with rt.VideoFeed(session, camera, fps=100) as video:
            for _ in range(5):
                assert asked.acquire(timeout=SOON)
        assert video.sent >= 4
        assert video.wait(0)


def test_a_broken_frame_is_left_out_and_the_next_one_goes(emulator: Emulator, caplog: pytest.LogCaptureFixture) -> None:
    with opened(emulator, turn_detection=None) as session:
        session.append_audio(speech(200).pcm)
        with rt.VideoFeed(session, [b"broken", SMALL], fps=50) as video:
            assert video.wait(SOON)
        assert (video.sent, video.skipped) == (1, 1)


def test_the_feed_ends_with_the_session(emulator: Emulator) -> None:
    with opened(emulator, turn_detection=None) as session:
        session.append_audio(speech(200).pcm)
        video = rt.VideoFeed(session, lambda: SMALL, fps=50).start()
        session.close()
        assert video.wait(SOON)
        assert isinstance(video.error, rt.ConnectionClosed)


def test_a_gif_is_seen_as_a_camera_with_so_many_frames_a_second_would(tmp_path: Path) -> None:
    frames = [Pillow.new("RGB", (40, 30), (level, 0, 0)) for level in range(0, 250, 25)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=200)
    seen = list(read_video(tmp_path / "clip.gif", fps=1.0))
    assert [round(frame.getpixel((5, 5))[0] / 25) for frame in seen] == [0, 5, 9]


def test_a_folder_of_pictures_is_shown_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt"):
        (tmp_path / name).write_bytes(SMALL)
    assert [Path(frame).name for frame in read_video(tmp_path)] == ["a.PNG", "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        read_video(tmp_path / "empty")


def test_a_video_file_is_played_with_the_extra(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(30):
            frame = av.VideoFrame.from_image(Pillow.new("RGB", (64, 48), (level * 8, 0, 0)))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    seen = list(read_video(path, fps=2.0))
    assert len(seen) in (6, 7)
    assert jpeg_size(prepare(seen[0], LIMIT)) == (64, 48)


def test_a_video_that_cannot_be_played_is_refused_at_once(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no video at all")
    session = opened(emulator)
    if "av" in sys.modules or pytest.importorskip("av"):
        with pytest.raises(ValueError, match="clip.mp4 is not a video"):
            rt.VideoFeed(session, tmp_path / "clip.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ImportError, match=r"dashscope_rt\[video\]"):
        rt.VideoFeed(session, tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match="fps"):
        rt.VideoFeed(session, [], fps=0)
    with pytest.raises(TypeError, match="function, an iterable or a path"):
        rt.VideoFeed(session, 7)  # type: ignore[arg-type]


def test_video_and_a_spoken_question_make_one_turn(emulator: Emulator) -> None:
    device = FakeDevice(speech(500))
    session = opened(emulator, turn_detection=None)
    talk = rt.Conversation(session, microphone=rt.Microphone(backend=device), speaker=rt.Speaker(backend=device))
    with talk:
        talk.press()
        device.advance(500)
        emulator.wait_for("input_audio_buffer.append")
        with rt.VideoFeed(session, [SMALL], fps=50) as video:
            assert video.wait(SOON)
        turn = talk.release()
        assert turn is not None
        assert "1 image: 64 x 48 pixels" in turn.wait().text
