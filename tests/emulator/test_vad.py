"""Hearing: where speech starts and stops in real recordings, whatever their rate, container and packets."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from dashscope_rt.testing import Answer, Heard
from dashscope_rt.testing._buffer import AudioBuffer
from dashscope_rt.testing._sound import pcm_of, resample, samples, wav_header
from dashscope_rt.testing._vad import Edge, EnergyVad, level_of
from dashscope_rt.testing._wire import Refusal

from .talk import AUDIO, NEWEST, Event, Machine, jpeg, read, silence, text_of

NAMES = sorted(path.stem for path in AUDIO.glob("*.wav"))
STARTED, STOPPED = "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"


def edges(
    pcm: bytes, *, rate: int = 16000, threshold: float = 0.5, silence_ms: int = 800, chunk: int = 0
) -> list[Edge]:
    vad = EnergyVad(rate, threshold, silence_ms)
    step = chunk or len(pcm)
    values = samples(pcm)
    return [edge for place in range(0, len(values), step) for edge in vad.feed(values[place : place + step])]


def louder(pcm: bytes, factor: float) -> bytes:
    return pcm_of(array("h", [int(value * factor) for value in samples(pcm)]))


def turns(machine: Machine) -> list[tuple[int, int]]:
    events = machine.events()
    starts = [event["audio_start_ms"] for event in events if event["type"] == STARTED]
    ends = [event["audio_end_ms"] for event in events if event["type"] == STOPPED]
    return list(zip(starts, ends, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_each_recording_is_one_turn(name: str) -> None:
    pcm, rate = read(name)
    found = edges(pcm + silence(100))
    assert [edge.kind for edge in found] == ["started", "stopped"]
    assert 250 <= found[0].at * 1000 // rate <= 350
    length = len(pcm) / 2 / rate * 1000
    assert length - 1000 <= found[1].at * 1000 // rate <= length - 800
    assert (found[1].noticed - found[1].at) * 1000 // rate == 800


@pytest.mark.parametrize("chunk", [1, 7, 333, 5000])
def test_packets_make_no_difference(chunk: int) -> None:
    pcm, _ = read("count_en")
    assert edges(pcm, chunk=chunk) == edges(pcm)


def test_a_short_silence_divides_and_a_long_one_does_not() -> None:
    pcm, _ = read("stop_picture_en")
    assert len(edges(pcm, silence_ms=200)) == 4
    assert len(edges(pcm, silence_ms=700)) == 2
    assert len(edges(pcm, silence_ms=6000)) == 1


def test_two_recordings_are_two_turns() -> None:
    pcm = read("weather_en")[0] + silence(400) + read("count_en")[0]
    assert [edge.kind for edge in edges(pcm + silence(100))] == ["started", "stopped"] * 2


def test_a_low_threshold_hears_what_a_high_one_does_not() -> None:
    pcm, _ = read("weather_en")
    whisper = louder(pcm, 0.05)
    assert level_of(-1) == -70
    assert level_of(0.5) == -40
    assert edges(whisper, threshold=0.5) == []
    assert [edge.kind for edge in edges(whisper + silence(100), threshold=0.0)] == ["started", "stopped"]
    assert [edge.kind for edge in edges(pcm + silence(100), threshold=1.0)] == ["started", "stopped"]


def test_a_click_and_a_hum_are_no_speech() -> None:
    click = pcm_of(array("h", [20000, -20000] * 160))
    hum = pcm_of(array("h", [40, -40] * 8000))
    assert edges(silence(500) + click + silence(500)) == []
    assert edges(hum) == []


def test_a_click_does_not_keep_a_turn_open() -> None:
    click = pcm_of(array("h", [20000, -20000] * 160))
    pcm, _ = read("weather_en")
    found = edges(pcm[:-19200] + click + silence(600))
    assert [edge.kind for edge in found] == ["started", "stopped"]


@pytest.mark.parametrize("rate", [8000, 24000, 48000])
def test_every_rate_is_heard(rate: int) -> None:
    heard: list[Heard] = []
    machine = Machine(lambda question: heard.append(question))
    machine.update(audio={"input": {"format": {"type": "pcm", "sample_rate": rate}}})
    machine.events()
    pcm, own = read("weather_en")
    machine.append(resample(pcm, own, rate) + silence(200, rate), chunk=4001)
    expected = Machine()
    expected.append(pcm + silence(200))
    found, wanted = turns(machine), turns(expected)
    assert len(found) == 1
    assert found[0] == pytest.approx(wanted[0], abs=60)
    question = machine.session.question
    assert question is not None
    assert question.heard.rate == rate
    assert question.heard.seconds == pytest.approx(2.8, abs=0.2)


@pytest.mark.parametrize("channels", [2, 4])
def test_several_channels_are_mixed_and_cost_double(channels: int) -> None:
    pcm, _ = read("weather_en")
    values = samples(pcm + silence(200))
    mixed = pcm_of(array("h", [value for value in values for _ in range(channels)]))
    machine = Machine(model=NEWEST)
    machine.update(audio={"input": {"format": {"channels": channels}}})
    machine.append(mixed, chunk=6401)
    single = Machine(model=NEWEST)
    single.append(pcm_of(values))
    bills = []
    found = []
    for each in (machine, single):
        events = [*each.events(), *each.wait()]
        found.append(
            [(event["type"], event["item_id"] != "") for event in events if event["type"] in (STARTED, STOPPED)]
        )
        bills.append(events[-1]["response"]["usage"]["input_tokens_details"]["audio_tokens"])
    assert found[0] == found[1]
    assert bills[0] == 2 * bills[1]


def test_prefix_padding_belongs_to_the_turn() -> None:
    starts = []
    for padding in (0, 200):
        machine = Machine()
        machine.update(turn_detection={"prefix_padding_ms": padding})
        machine.append(silence(1000) + read("weather_en")[0] + silence(200))
        events: list[Event] = machine.events()
        starts.append(next(event["audio_start_ms"] for event in events if event["type"] == STARTED))
    assert starts[0] - starts[1] == 200


def test_positions_go_on_from_turn_to_turn() -> None:
    machine = Machine()
    for _ in range(2):
        machine.append(read("weather_en")[0] + silence(200))
        machine.wait()
    machine = Machine(transcription="off")
    pcm = read("weather_en")[0] + silence(200)
    machine.append(pcm)
    first = turns(machine)[0]
    machine.wait()
    machine.append(pcm)
    second = turns(machine)[0]
    assert second[0] - first[0] == pytest.approx(len(pcm) / 32, abs=20)


def test_clear_forgets_speech_that_had_begun() -> None:
    machine = Machine(transcription="off")
    pcm, _ = read("weather_en")
    machine.append(pcm[: len(pcm) // 2])
    machine.send("input_audio_buffer.clear")
    machine.append(silence(2000))
    assert [event["type"] for event in machine.events()][1:] == [STARTED, "input_audio_buffer.cleared"]


def test_settings_changed_while_the_user_speaks_count_from_the_next_turn() -> None:
    machine = Machine(transcription="off")
    pcm, _ = read("weather_en")
    machine.append(pcm[: len(pcm) // 2])
    machine.update(turn_detection={"silence_duration_ms": 6000})
    machine.append(pcm[len(pcm) // 2 :] + silence(200))
    machine.wait()
    machine.append(pcm + silence(1000))
    kinds = [event["type"] for event in machine.wait() if event["type"] in (STARTED, STOPPED)]
    assert kinds == [STARTED]


def test_switching_to_manual_keeps_what_was_said() -> None:
    machine = Machine(transcription="off")
    pcm, _ = read("weather_en")
    machine.append(pcm[: len(pcm) // 2])
    machine.update(turn_detection=None)
    machine.events()
    machine.send("input_audio_buffer.commit")
    assert [event["type"] for event in machine.events()] == [
        "input_audio_buffer.committed",
        "conversation.item.created",
    ]


# The buffer


def test_samples_cut_in_half_are_put_together() -> None:
    pcm = pcm_of(array("h", range(-500, 500)))
    for chunk in (1, 3, 5, 999):
        buffer = AudioBuffer()
        for place in range(0, len(pcm), chunk):
            buffer.append(pcm[place : place + chunk])
        assert buffer.cut(0, buffer.end) == pcm


@pytest.mark.parametrize("chunk", [1, 3, 43, 44, 45, 1000])
def test_a_wav_stream_loses_its_header_wherever_it_is_cut(chunk: int) -> None:
    pcm = pcm_of(array("h", range(1000)))
    buffer = AudioBuffer("wav")
    data = wav_header(16000) + pcm
    for place in range(0, len(data), chunk):
        buffer.append(data[place : place + chunk])
    assert buffer.cut(0, buffer.end) == pcm


def test_a_wav_file_per_append_works_too() -> None:
    buffer = AudioBuffer("wav")
    for value in range(3):
        pcm = pcm_of(array("h", [value] * 100))
        buffer.append(wav_header(16000, len(pcm)) + pcm)
    assert samples(buffer.cut(0, buffer.end)) == array("h", [0] * 100 + [1] * 100 + [2] * 100)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes(100), "must begin with a RIFF header"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", "not WAVE"),
        (wav_header(8000) + bytes(10), "8000 Hz"),
        (b"RIFF\x00\x00\x00\x00WAVEjunk\xff\x00\x00\x00" + bytes(5000), "no 'data' chunk"),
        (wav_header(16000).replace(b"\x02\x00\x10\x00", b"\x03\x00\x18\x00"), "24-bit"),
    ],
)
def test_what_is_no_wav_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        AudioBuffer("wav").append(data)


def test_wav_input_is_heard() -> None:
    machine = Machine(lambda question: None)
    machine.update(audio={"input": {"format": {"type": "wav", "sample_rate": 16000}}}, turn_detection=None)
    machine.events()
    data = (AUDIO / "weather_en.wav").read_bytes()
    machine.append(data)
    machine.send("input_audio_buffer.commit")
    machine.send("response.create")
    question: Any = machine.session.question
    assert question.heard.audio == read("weather_en")[0]


def test_a_stereo_wav_is_mixed() -> None:
    header = bytearray(wav_header(16000))
    header[22:24] = (2).to_bytes(2, "little")
    buffer = AudioBuffer("wav")
    buffer.append(bytes(header) + pcm_of(array("h", [100, 200] * 50)))
    assert samples(buffer.cut(0, buffer.end)) == array("h", [150] * 50)


def test_silence_before_speech_is_not_kept() -> None:
    machine = Machine()
    for _ in range(50):
        machine.append(silence(1000), chunk=32000)
    assert machine.session._turns._buffer.duration_ms <= 600


# Semantic VAD, where the answer decides whether there was a turn


def semantic() -> Machine:
    machine = Machine(lambda heard: None, transcription="off")
    machine.update(turn_detection={"type": "semantic_vad"})
    machine.append(read("weather_en")[0] + silence(200))
    machine.events()
    return machine


def test_a_turn_is_not_answered_when_the_user_went_on_speaking() -> None:
    machine = semantic()
    question = machine.session.question
    assert question is not None
    machine.append(read("count_en")[0][:64000])
    machine.events()
    machine.session.answered(question, Answer("Too early."), machine.now)
    assert [event["type"] for event in machine.wait()] == ["input_audio_buffer.committed"]
    machine.append(silence(1000))
    machine.events()
    second = machine.session.question
    assert second is not None
    assert len(second.heard.audio) > len(question.heard.audio)


def test_turns_wait_for_the_judgement_of_those_before() -> None:
    machine = semantic()
    first = machine.session.question
    assert first is not None
    machine.append(read("count_en")[0] + silence(200))
    machine.events()
    assert machine.session.question is first
    machine.session.answered(first, Answer(reject_semantic=True), machine.now)
    assert [event["type"] for event in machine.wait()] == ["error"]
    second = machine.session.question
    assert second is not None
    machine.session.answered(second, Answer("Yes."), machine.now)
    kinds = [event["type"] for event in machine.wait()]
    assert (kinds[0], kinds[-1]) == ("input_audio_buffer.committed", "response.done")


def test_images_need_audio_after_each_turn() -> None:
    machine = Machine(transcription="off")
    machine.append(read("weather_en")[0] + silence(200), chunk=1_000_000)
    machine.wait()
    machine.send("input_image_buffer.append", image=text_of(jpeg()))
    assert machine.events()[0]["error"]["message"] == "Error append image before append audio."
    machine.append(silence(20))
    machine.send("input_image_buffer.append", image=text_of(jpeg()))
    assert machine.events() == []
