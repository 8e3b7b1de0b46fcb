"""A model whose logits aren't finite is an error, at whichever step and in whichever sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import ModelError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.video import Sampling, read
from tests.covering import covered
from tests.natural import Pictures, pan

QUESTIONS = ("What happens?", "How many objects are there?")
PRUNED = DyCoke(prune_layer=2)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load("mini", device="cpu", dtype="float32")


@pytest.fixture
def session(loaded: LoadedModel) -> VideoSession:
    return VideoSession(loaded, Pictures.of(pan(4)))


@contextmanager
def spoilt(model: Any, spoil: Callable[[torch.Tensor], None], step: int) -> Iterator[None]:
    """Within the block, the logits `[B, V]` of one step (from 0) are spoilt."""
    calls = iter(range(10**6))

    def hook(module: Any, args: Any, logits: torch.Tensor) -> None:
        if next(calls) == step:
            spoil(logits[:, -1])

    handle = model.lm_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def one_nan(logits: torch.Tensor) -> None:
    logits[:, 17] = torch.nan


def one_infinity(logits: torch.Tensor) -> None:
    logits[:, 17] = torch.inf


def nothing_left(logits: torch.Tensor) -> None:
    logits.fill_(-torch.inf)


SPOILING = (one_nan, one_infinity, nothing_left)


@pytest.mark.parametrize(
    ("spoil", "step", "temperature", "method"),
    covered(product(SPOILING, (0, 1, 4), (0.0, 1.0), (Uncompressed(), PRUNED)), together=2),
)
def test_no_answer_is_made_of_them(
    session: VideoSession, method: Any, temperature: float, step: int, spoil: Any
) -> None:
    steps: list[tuple[str, int, int]] = []
    session.on_progress = lambda *stage: steps.append(stage)
    expected = (
        rf"its logits aren't finite at token {step + 1} of an answer; its weights are damaged"
    )
    with spoilt(session.loaded.model, spoil, step), pytest.raises(ModelError, match=expected):
        session.ask(QUESTIONS[0], method, max_new_tokens=8, temperature=temperature, seed=1)
    # It ends there, and none of it is written as text.
    assert steps[-1] == ("decode", step + 1, 8)


def test_what_was_written_before_is_all_that_is_streamed(session: VideoSession) -> None:
    whole = session.ask(QUESTIONS[0], PRUNED, max_new_tokens=8).answer
    parts: list[str] = []
    with spoilt(session.loaded.model, one_nan, 4), pytest.raises(ModelError):
        session.ask(QUESTIONS[0], PRUNED, max_new_tokens=8, on_text=parts.append)
    assert parts
    assert whole.startswith("".join(parts).strip())


def test_tokens_that_are_ruled_out_are_no_error(session: VideoSession) -> None:
    def rule_out(logits: torch.Tensor) -> None:
        logits[:, 17] = -torch.inf

    with spoilt(session.loaded.model, rule_out, 0):
        assert session.ask(QUESTIONS[0], PRUNED, max_new_tokens=4).answer


def test_a_checkpoint_cannot_hide_them(
    session: VideoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = session.loaded.model.generation_config
    monkeypatch.setattr(config, "remove_invalid_values", True)
    with spoilt(session.loaded.model, one_nan, 1), pytest.raises(ModelError):
        session.ask(QUESTIONS[0], PRUNED, max_new_tokens=4)


def test_a_narrow_dtype_is_pointed_out() -> None:
    narrow = load("mini", device="cpu", dtype="bfloat16")
    session = VideoSession(narrow, Pictures.of(pan(4)))
    with spoilt(narrow.model, one_nan, 0), pytest.raises(ModelError, match="try --dtype float32"):
        session.ask(QUESTIONS[0], PRUNED, max_new_tokens=2)


@pytest.mark.parametrize("row", [0, 1])
def test_a_sequence_of_a_batch_counts_until_it_ends(session: VideoSession, row: int) -> None:
    def spoil(logits: torch.Tensor) -> None:
        logits[row] = torch.nan

    clip = read(Path(__file__).parents[2] / "sample_videos" / "move.mp4", Sampling(frames=4))
    session = VideoSession(session.loaded, clip)

    def ask() -> list[Any]:
        questions = [Question(session, question) for question in QUESTIONS]
        return ask_together(questions, PRUNED, GenerationOptions(max_new_tokens=40))

    lengths = [answer.tokens.generated for answer in ask()]
    assert lengths[0] != lengths[1]
    last = max(lengths) - 1  # a step at which one of the two is over
    with spoilt(session.loaded.model, spoil, last):
        if lengths[row] > last:
            with pytest.raises(ModelError, match=f"at token {last + 1}"):
                ask()
        else:
            assert [answer.tokens.generated for answer in ask()] == lengths
