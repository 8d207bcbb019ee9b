"""The sample notebook runs in a real kernel, shows what it promises, and the file holds what it shows."""

from __future__ import annotations

import base64
import io
import json
import re
import wave
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from dashscope_rt.audio import read_wav
from tests.notebook.conftest import ROOT
from tests.notebook.fresh import NOTEBOOK, Watched, essence, executed, kept

KEPT_BYTES = 120_000  # in the repository


@pytest.fixture(scope="module")
def run(environment: dict[str, str], fonts: None, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return executed(tmp_path_factory.mktemp("notebook"), environment)


def cell(run: Watched, holding: str) -> NotebookNode:
    (found,) = [each for each in run.nb.cells if each.cell_type == "code" and holding in each.source]
    return found


def shown(run: Watched, holding: str) -> dict[str, Any]:
    """What the last expression of a cell shows."""
    (output,) = [each for each in cell(run, holding).outputs if each.output_type == "execute_result"]
    data: dict[str, Any] = output.data
    return data


def printed(run: Watched, holding: str) -> str:
    return "".join(each.text for each in cell(run, holding).outputs if each.output_type == "stream")


def sound(html: str) -> wave.Wave_read:
    """The WAV file in the player."""
    (data,) = re.findall(r'<audio controls[^>]* src="data:audio/wav;base64,([^"]+)"', html)
    return wave.open(io.BytesIO(base64.b64decode(data, validate=True)))


def test_nothing_complains(run: Watched) -> None:
    for index, message in run.messages:
        content = message["content"]
        assert message["msg_type"] != "error", (index, content)
        assert not (message["msg_type"] == "stream" and content["name"] == "stderr"), (index, content)
    assert not any("Warning" in json.dumps(each) for each in run.nb.cells)


def test_a_question_shows_both_transcripts_the_voice_and_the_times(run: Watched) -> None:
    data = shown(run, 'client.ask("data/question.wav")')
    html, plain = data["text/html"], data["text/plain"]
    for text in ("(emulator) 3.6 seconds of speech", "This is the emulator. You spoke for 3.6 seconds"):
        assert text in html
        assert text in plain
    with sound(html) as player:
        assert (player.getnchannels(), player.getsampwidth(), player.getframerate()) == (1, 2, 24_000)
        pcm = player.readframes(player.getnframes())
    assert printed(run, "print(turn.text)").startswith("This is the emulator.")
    assert f"{len(pcm):,} bytes at 24,000 Hz" in printed(run, "print(turn.text)")
    question = read_wav(ROOT / "samples" / "data" / "question.wav")
    assert abs(len(pcm) / 48 - question.duration_ms) < 100, "the emulator plays back what it heard"
    assert re.search(r"delay</small><br><b>[\d.]+ m?s<", html)


def test_the_player_has_the_turns_own_audio(run: Watched) -> None:
    """Every shown turn, and every byte; the emulator's tones for a text are known."""
    from dashscope_rt.testing._sound import tones

    with sound(shown(run, "turns[-1]")["text/html"]) as player:
        assert player.readframes(player.getnframes()) == tones("This is the emulator. You wrote: And what was my name?", 24_000)


def test_a_story_comes_piece_by_piece(run: Watched) -> None:
    story = "Once upon a time a cell ran, until somebody pressed stop."
    assert printed(run, "short story") == story
    index = run.nb.cells.index(cell(run, "short story"))
    pieces = [message for at, message in run.messages if at == index and message["msg_type"] == "stream"]
    assert len(pieces) > 1


def test_what_callbacks_print_is_in_the_cell(run: Watched) -> None:
    text = printed(run, "on_speech_stopped")
    assert text.startswith("The service heard the end of the speech.\nThis is the emulator. You spoke for")


def test_the_table_has_a_row_for_every_question(run: Watched) -> None:
    html = shown(run, "pd.DataFrame")["text/html"]
    assert html.count("<tr") == 5
    for title in ("first text, ms", "first audio, ms", "complete, ms", "tokens"):
        assert f"<th>{title}</th>" in html


def test_the_plot_is_a_picture_with_something_in_it(run: Watched) -> None:
    image = pytest.importorskip("PIL.Image")
    (output,) = [each for each in cell(run, "plt.show()").outputs if each.output_type == "display_data"]
    picture = image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
    assert picture.width > 400
    colours = picture.convert("RGB").getcolors(1 << 20)
    bars = sum(count for count, colour in colours if colour == (0xD9, 0x90, 0x2F))
    assert bars > picture.width * picture.height * 0.05


def test_the_function_is_called(run: Watched) -> None:
    html = shown(run, "@session.tool")["text/html"]
    assert "weather({&quot;city&quot;: &quot;Rome&quot;, &quot;day&quot;: &quot;tomorrow&quot;})" in html
    assert "The function returned: {&quot;city&quot;: &quot;Rome&quot;" in html


def test_the_picture_is_shown_and_looked_at(run: Watched) -> None:
    picture = (ROOT / "samples" / "data" / "picture.jpg").read_bytes()
    assert base64.b64decode(shown(run, "Image(")["image/jpeg"]) == picture
    assert f"{len(picture):,} bytes of JPEG." in shown(run, "images=[")["text/plain"]


def test_an_answer_is_stopped_and_the_next_is_its_own(run: Watched) -> None:
    assert printed(run, "turn.cancel()") == "Once upon a time a …\n"
    assert "cancelled" in shown(run, "turn.cancel()")["text/html"]
    assert "Are you still there?" in shown(run, "still there")["text/plain"]


def test_every_mistake_is_one_sentence(run: Watched) -> None:
    lines = printed(run, "mistakes = [").splitlines()
    kinds = ["FileNotFoundError", "ValueError", "DeadlineExceeded", "AuthenticationError"]
    assert [line.partition(":")[0] for line in lines] == kinds


def test_it_runs_inside_an_event_loop(run: Watched) -> None:
    assert printed(run, "asyncio") == "This cell runs inside a running event loop: True\n"


def test_the_session_is_closed_at_the_end(run: Watched) -> None:
    last = [each for each in run.nb.cells if each.cell_type == "code"][-1]
    assert "RealtimeSession (closed)" in last.outputs[-1].data["text/plain"]


def test_the_file_holds_what_a_run_shows(run: Watched) -> None:
    """After a change: python -m tests.notebook.fresh."""
    file = nbformat.read(NOTEBOOK, as_version=4)
    assert len(file.cells) == len(run.nb.cells)
    for held, shows in zip(essence(file), essence(kept(run.nb)), strict=True):
        assert held == shows


def test_the_file_is_small_and_has_neither_sound_nor_traces_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert len(text) < KEPT_BYTES
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert "data:audio" not in text
    assert re.search(r"/home/|/tmp/|/Users/", text) is None
    assert str(ROOT) not in text
    assert notebook == kept(notebook)
    assert text == nbformat.writes(notebook) + "\n"
    codes = [each for each in notebook.cells if each.cell_type == "code"]
    assert [each.execution_count for each in codes] == list(range(1, len(codes) + 1))
    assert max(len(each.source.splitlines()) for each in codes) <= 30, "short cells"
