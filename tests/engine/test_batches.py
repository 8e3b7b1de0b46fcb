"""Several sequences at once get what each gets alone; logits that aren't finite are an error."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, FastV, RandomMerge, ToMe, Uncompressed, VideoSession
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.stock.private_api import cache_of
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.engine.batches import NEW_TOKENS, answer, batch_of, prompts, same_rows, spoilt
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.families.sessions import as_loaded, bundled
from tests.families.stock import clip
from tests.families.tiny import make
from tests.marks import EXTENDED

KEEP_ALL = DyCoke(merge_ratio=0.0, prune_ratio=0.0, prune_layer=2)
PUBLISHED = DyCoke(prune_layer=2, variant="published")
WEIGHTED = ToMe(retain=0.3, positions="kept", proportional=True)
METHODS = [
    DyCoke(prune_layer=2),
    DyCoke(prune_layer=1, merge_ratio=0.3, prune_ratio=0.9, recall_threshold=1.0),
    DyCoke(prune_layer=3, positions="kept"),
    DyCoke(prune_layer=2, recall=False),
    PUBLISHED,
    DyCoke(kv_prune=False),
    DyCoke(ttm=False, prune_layer=2),
    RandomMerge(merge_ratio=0.5, prune_layer=2),
    KEEP_ALL,
    WEIGHTED,
    replace(WEIGHTED, positions="renumbered"),
]

PROMPTS = (5, (3, 0, 9)), (8, (2, 2)), (1, (0, 1, 2, 3, 4))
# One of each kind of entries in the cache.
KINDS = (METHODS[0], PROMPTS[0]), (PUBLISHED, PROMPTS[1]), (WEIGHTED, PROMPTS[0])


@pytest.mark.parametrize(
    ("method", "frames", "texts"),
    [
        pytest.param(method, *prompt, marks=() if (method, prompt) in KINDS else EXTENDED)
        for method, prompt in product(METHODS, PROMPTS)
    ],
)
def test_each_row_is_as_it_is_alone(method, frames, texts):
    shape = SHAPES[0]
    model = make_model(shape, seed=frames)
    if frames == 1 and method == PUBLISHED:
        frames = 6  # the published variant wants more than four
    rows = prompts(shape, frames, texts)
    assert len(same_rows(model, method, rows, batch_of(rows))) == len(rows)


def test_a_row_without_a_video():
    shape, method = SHAPES[0], DyCoke(prune_layer=2)
    model = make_model(shape)
    rows = prompts(shape, 5, (1, 3))
    text = {
        "input_ids": torch.tensor([[11, 12, 13, 14]]),
        "attention_mask": torch.ones(1, 4).long(),
    }
    batch = batch_of([*rows, text | {"pixel_values_videos": rows[0]["pixel_values_videos"][:0]}])
    stats = same_rows(model, method, rows, batch)
    together, _ = answer(model, method, batch)
    plain = model.generate(**text, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert together.sequences[2, -NEW_TOKENS:].tolist() == plain[0, -NEW_TOKENS:].tolist()
    assert (stats[2].visual, stats[2].active) == (0, [])


def test_several_draws_of_one_prompt_choose_for_themselves():
    model = make_model(SHAPES[0])
    inputs = make_inputs(SHAPES[0], 9)
    with DyCoke(prune_layer=2)(model) as attachment:
        torch.manual_seed(0)
        output = model.generate(
            **inputs, max_new_tokens=20, do_sample=True, temperature=3.0, num_return_sequences=3
        )
    assert len({tuple(row.tolist()) for row in output}) == 3
    reselections = [tuple(stats.recalled) for stats in attachment.stats]
    assert len(set(reselections)) == 3


def test_what_reads_one_sequence_at_a_time_says_so():
    model = make_model(SHAPES[0])
    inputs = batch_of(prompts(SHAPES[0], 4, (1, 2)))
    with pytest.raises(UsageError, match="fastv takes one sequence at a time"), FastV()(model):
        model.generate(**inputs, max_new_tokens=2)


def test_the_store_of_a_finished_call_is_freed():
    model = make_model(SHAPES[0])
    with DyCoke(prune_layer=2)(model):
        gc.disable()
        try:
            output = model.generate(
                **make_inputs(SHAPES[0], 4), max_new_tokens=3, return_dict_in_generate=True
            )
            store = weakref.ref(cache_of(output))
            del output
            assert store() is None
        finally:
            gc.enable()


QUESTIONS = ("What happens?", "How many objects are there?")
PRUNED = DyCoke(prune_layer=2)


@pytest.fixture
def session() -> VideoSession:
    return session_of(torch.float32)


def session_of(dtype: torch.dtype) -> VideoSession:
    return VideoSession(as_loaded("tiny", *make("llava_onevision", dtype)), clip(4))


def one_nan(logits: torch.Tensor) -> None:
    logits[:, 17] = torch.nan


def one_infinity(logits: torch.Tensor) -> None:
    logits[:, 17] = torch.inf


def nothing_left(logits: torch.Tensor) -> None:
    logits.fill_(-torch.inf)


SPOILING = (one_nan, one_infinity, nothing_left)


@pytest.mark.parametrize(
    ("spoil", "step", "temperature", "method"),
    [*product(SPOILING, (0, 1, 4), (0.0, 1.0), (Uncompressed(), PRUNED))],
)
def test_no_answer_is_made_of_them(
    session: VideoSession,
    method: Any,
    temperature: float,
    step: int,
    spoil: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end = session.loaded.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    monkeypatch.setattr(session.loaded.model.generation_config, "eos_token_id", end)
    steps: list[tuple[str, int, int]] = []
    session.on_progress = lambda *stage: steps.append(stage)
    expected = (
        rf"its logits aren't finite at token {step + 1} of an answer; its weights are damaged"
    )
    with spoilt(session.loaded.model, spoil, step), pytest.raises(ModelError, match=expected):
        session.ask(QUESTIONS[0], method, max_tokens=8, temperature=temperature, seed=1)
    # It ends there, and none of it is written as text.
    assert steps[-1] == ("decode", step + 1, 8)


def test_tokens_that_are_ruled_out_are_no_error(session: VideoSession) -> None:
    def rule_out(logits: torch.Tensor) -> None:
        logits[:, 17] = -torch.inf

    with spoilt(session.loaded.model, rule_out, 0):
        assert session.ask(QUESTIONS[0], PRUNED, max_tokens=4).answer


def test_a_checkpoint_cannot_hide_them(
    session: VideoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = session.loaded.model.generation_config
    monkeypatch.setattr(config, "remove_invalid_values", True)
    with spoilt(session.loaded.model, one_nan, 1), pytest.raises(ModelError):
        session.ask(QUESTIONS[0], PRUNED, max_tokens=4)


def test_a_narrow_dtype_is_pointed_out() -> None:
    session = session_of(torch.bfloat16)
    broken = spoilt(session.loaded.model, one_nan, 0)
    with broken, pytest.raises(ModelError, match="try --dtype float32"):
        session.ask(QUESTIONS[0], PRUNED, max_tokens=2)


@pytest.mark.parametrize("row", [0, 1])
def test_a_sequence_of_a_batch_counts_until_it_ends(row: int) -> None:
    def spoil(logits: torch.Tensor) -> None:
        logits[row] = torch.nan

    shown = read(Path(__file__).parents[2] / "sample_videos" / "move.mp4", Sampling(frames=4))
    session = VideoSession(bundled(), shown)

    def ask() -> list[Any]:
        questions = [Question(session, question) for question in QUESTIONS]
        return ask_together(questions, PRUNED, GenerationOptions(max_tokens=40))

    lengths = [answer.tokens.generated for answer in ask()]
    assert lengths[0] != lengths[1]
    last = max(lengths) - 1  # a step at which one of the two is over
    with spoilt(session.loaded.model, spoil, last):
        if lengths[row] > last:
            with pytest.raises(ModelError, match=f"at token {last + 1}"):
                ask()
        else:
            assert [answer.tokens.generated for answer in ask()] == lengths
