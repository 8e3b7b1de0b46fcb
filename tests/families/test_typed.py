"""Options scored behind one prefill: as stock transformers scores each by a forward of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.compression.method import Method, layer_prunings, with_model_defaults
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine import generate
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import ask_together
from dycoke_cli.engine.vocabulary import option_tokens
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.load import LoadedModel
from tests.families.found import found as unlisted_of
from tests.families.found import newest
from tests.families.sessions import (
    QUESTIONS,
    as_loaded,
    loaded_of,
    questions_of,
    read_in_chunks,
)
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.tiny import MAKERS, UNLISTED_MAKERS, make
from tests.families.typed import (
    END,
    OPTIONS,
    SIX,
    TYPED,
    Shortened,
    assert_scores,
    ending,
    ids_of,
    summed,
    whole_forward,
)


@torch.no_grad()
def by_stock(family: str, inputs: dict[str, Any], options: Sequence[Sequence[int]]) -> list[float]:
    """A whole forward of the stock model for each option behind the prompt."""
    model, _ = make(family)
    return [summed(whole_forward(model, inputs, ids), ids) for ids in options]


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_without_compression_each_is_a_forward_of_the_stock_model(family: str) -> None:
    _, processor = make(family)
    session = VideoSession(loaded_of(family), clip(4))
    answer = session.ask(QUESTION, Uncompressed(), typed=TYPED)
    inputs = stock_inputs(family, processor, clip(4))
    assert_scores(answer, by_stock(family, inputs, ids_of(processor, answer)))
    assert (answer.tokens.generated, answer.decode.steps) == (0, 0)


def admitted(family: str, name: str) -> bool:
    """Whether a family gives a method what it needs."""
    method, known = create(name), FAMILIES[family]
    if method.shrink() is not None and not known.has_pictures:
        return False
    if layer_prunings(with_model_defaults(method, {})) and not known.causal:
        return False
    return known.tower is not None or "attention" not in method.needs


CASES = [(f, n) for f, n in product(SIX, METHODS) if n != "none" and admitted(f, n)]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_each_option_is_a_forward_over_the_tokens_that_a_method_keeps(
    family: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Method = create(name)
    model, processor = make(family)
    shortened = Shortened(monkeypatch)
    session = VideoSession(loaded_of(family), clip(5), reuse=False)
    with ending(family):
        answer = session.ask(QUESTION, method, typed=TYPED)
    expected = shortened.scores(model, ids_of(processor, answer), [END])
    assert answer.scoring.ended
    assert_scores(answer, expected)
    assert 0 < answer.tokens.visual_kept <= answer.tokens.visual


class Forced(LogitsProcessor):
    """Makes the model generate the tokens of an option, and sums up their log-probabilities."""

    def __init__(self, ids: Sequence[int]) -> None:
        self.total, self._ids = 0.0, [*ids]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`."""
        token = self._ids.pop(0)
        self.total += float(scores[0].double().log_softmax(-1)[token])
        return torch.full_like(scores, -torch.inf).index_fill(1, torch.tensor([token]), 0.0)


def forced(session: VideoSession, method: Method, ids: Sequence[int]) -> float:
    """An option's log-probability where the method generates it, one token per step."""
    forcing = Forced(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "LogitsProcessorList", lambda _: LogitsProcessorList([forcing]))
        session.ask(QUESTION, method, max_tokens=len(ids))
    return forcing.total


@pytest.mark.parametrize(
    "family", one_of_each_kind([*MERGING_ONLY, *NONE_ONLY], ("gemma4", "qwen3_5"))
)
def test_on_other_caches_each_option_is_as_if_it_was_generated(family: str) -> None:
    check_forced(loaded_of(family))


# Of nemotron_h_omni the output layer isn't where `in_float64` looks for it.
OUTSIDE = set(UNLISTED_MAKERS) - {"nemotron_h_omni"}


@newest
@pytest.mark.extended
@pytest.mark.parametrize("family", sorted(OUTSIDE))
def test_of_an_unlisted_family_each_option_is_as_if_it_was_generated(family: str) -> None:
    check_forced(as_loaded(family, *unlisted_of(family)))


def check_forced(loaded: LoadedModel) -> None:
    """Compare the scores with those of generated options, by a method where the family has any."""
    session = VideoSession(loaded, clip(5))
    method = Uncompressed() if loaded.family.only_none else DyCoke(kv_prune=False)
    answer = session.ask(QUESTION, method, typed=TYPED)
    ids = ids_of(loaded.processor, answer)
    assert_scores(answer, [forced(session, method, own) for own in ids])


@pytest.mark.parametrize("family", SIX)
def test_three_unequal_prompts_are_answered_as_alone(family: str) -> None:
    questions, method = questions_of(loaded_of(family)), DyCoke(prune_layer=2)
    together = ask_together(questions, method, GenerationOptions(typed=TYPED))
    for item, found in zip(questions, together, strict=True):
        alone = item.session.ask(item.question, method, typed=TYPED)
        assert_scores(found, alone.scoring.log_probabilities)


def test_a_prompt_in_chunks_and_a_second_question_are_as_one_in_one_pass(monkeypatch) -> None:
    loaded, method = loaded_of("llava_onevision"), DyCoke(prune_layer=2)
    session = VideoSession(loaded, clip(9), reuse=False)
    whole = [session.ask(q, method, typed=TYPED).scoring.log_probabilities for q in QUESTIONS]
    read_in_chunks(monkeypatch)
    reused = VideoSession(loaded, clip(9))
    for question, expected in zip(QUESTIONS, whole, strict=True):
        for one in (session, reused):
            assert_scores(one.ask(question, method, typed=TYPED), expected)


def test_the_mass_is_that_of_the_first_tokens_in_the_likelier_spelling() -> None:
    family = "llava_onevision"
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(4))
    with torch.no_grad():
        first = model(**inputs).logits[0, -1].double().softmax(-1)
    answer = VideoSession(loaded_of(family), clip(4)).ask(QUESTION, Uncompressed(), typed=TYPED)
    masses = {
        spelling.texts: float(first[sorted({ids[0] for ids in spelling.ids})].sum())
        for spelling in option_tokens(processor, OPTIONS)
    }
    assert answer.scoring.mass == pytest.approx(max(masses.values()), rel=1e-5)
    assert masses[answer.scoring.texts] == max(masses.values())
    likeliest = processor.tokenizer.decode([int(first.argmax())]).strip()
    assert answer.scoring.likeliest == likeliest
    [warning] = [one for one in answer.warnings if "wanted to say something else" in one]
    assert repr(likeliest) in warning
