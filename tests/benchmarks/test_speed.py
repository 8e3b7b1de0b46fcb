"""The benchmark of speed: who takes part does the same work, and what is measured is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.drawn import drawn
from benchmarks.json_lines import replace_lines
from benchmarks.speed import contestants, published
from benchmarks.speed.alone import TEXT
from benchmarks.speed.course import Course
from benchmarks.speed.journal import Heat, Journal
from benchmarks.speed.kept import made_again
from benchmarks.speed.measured import Measured
from benchmarks.speed.measuring import whole
from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import AnswerStream, BatchStreamer, Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load import LoadedModel
from tests.marks import EXTENDED

MEASURED = Measured(0.0, 1.0, 2.0, 0.01, 3.3, 10_000_000, 128, 10_000_000, 32, 90_000_000, 4.0)


@pytest.fixture(scope="module")
def mini() -> LoadedModel:
    return load("mini", device="cpu", dtype="float32", kernels="stock")


@pytest.mark.parametrize(
    "frames", [6, *(pytest.param(frames, marks=EXTENDED) for frames in (12, 16))]
)
def test_the_published_scheme_writes_what_our_published_variant_writes(
    mini: LoadedModel, frames: int
) -> None:
    session = VideoSession(mini, drawn(frames))
    ours = session.ask("What happens in the video?", published.METHOD, max_tokens=12)
    prompt = session.prompt("What happens in the video?", (), BASELINE, GenerationOptions(12))()
    answer = AnswerStream(mini.processor.tokenizer, 12)
    streamer = BatchStreamer(Stopwatch(torch.device("cpu")).read, [answer])
    mini.model.set_attn_implementation({"text_config": published.NAME})
    tokens, cache = published.answer(mini.model, prompt, frames, 12, streamer)
    mini.model.set_attn_implementation("sdpa")
    text = mini.processor.tokenizer.decode(tokens, skip_special_tokens=True)
    assert len(ours.answer) > 20
    assert text.startswith(ours.answer)
    assert DyCoke(variant="published").kept_tokens(frames, 16) == ours.tokens.visual_kept
    # All of it is kept, as published.
    assert cache.get_seq_length() > ours.tokens.visual_kept + 11


def test_linear_layers_alone_are_run_on_the_rows_of_an_answer(mini: LoadedModel) -> None:
    """Each layer gets, of all passes, the rows that an answer of the same length gives it."""
    rows: dict[torch.nn.Module, set[int]] = {}
    linears = [part for part in mini.model.modules() if isinstance(part, torch.nn.Linear)]
    for part in linears:
        part.register_forward_pre_hook(
            lambda part, args: rows.setdefault(part, set()).add(
                args[0].numel() // args[0].shape[-1]
            )
        )
    found = whole(mini, 8, contestants.LINEAR_ALONE, 5)
    assert set(rows) == set(linears)
    decoder = mini.model.get_decoder().layers[0].mlp.up_proj
    kept = DyCoke().kept_tokens(8, 16)
    assert rows[decoder] == {1, kept + TEXT}
    assert rows[mini.model.lm_head] == {1}
    assert rows[mini.model.model.vision_tower.encoder.layers[0].mlp.fc1] == {64}
    assert found.visual == kept
    assert found.total == pytest.approx(found.vision + found.prefill + 4 * found.token)
    for part in linears:
        part._forward_pre_hooks.clear()


def test_what_was_measured_isnt_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    calls = []
    monkeypatch.setattr("benchmarks.speed.course.load", lambda *args, **kwargs: None)
    monkeypatch.setattr(
        "benchmarks.speed.course.whole",
        lambda loaded, frames, contestant, tokens: calls.append((frames, tokens)) or MEASURED,
    )
    Course("mini", Journal(path), 4, "Here.", "float32").run("whole", 16, 1, int8=False)
    first = len([call for call in calls if call == (16, 4)])
    with path.open("a") as file:
        file.write('{"torn')
    found = Course("mini", Journal(path), 4, "Here.", "float32").run("whole", 16, 2, int8=False)
    assert first == len(found) == 6
    once = [found.pop(name) for name in ("stock kernels, DyCoke", "GEMM-only lower bound")]
    assert once == [[MEASURED]] * 2
    assert all(rounds == [MEASURED] * 2 for rounds in found.values())
    assert len([call for call in calls if call == (16, 4)]) == 2 * len(found) + 2


def test_what_is_kept_takes_the_place_of_the_same_table(tmp_path: Path) -> None:
    file, journal = tmp_path / "speed.jsonl.xz", Journal(tmp_path / "journal.jsonl")
    heat = Heat("mini", "rules", 8, 4, "Here.", "float32")
    for total in (3.0, 5.0):
        journal.add(heat, contestants.PLAIN, replace(MEASURED, total=total))
    replace_lines(file, "rules-there", [])
    replace_lines(file, "rules-here", journal.lines(heat, contestants.PLAIN))
    replace_lines(file, "rules-here", journal.lines(heat, contestants.PLAIN)[:1])
    assert [*made_again(file)] == ["rules-here"]
    assert "| 8 frames, 1 run |" in made_again(file)["rules-here"]
    assert "| 3 |" in made_again(file)["rules-here"]
