"""Options scored behind one prefill: as stock transformers scores each by a forward of its own."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.method import LayerPruning, Method, layer_prunings, with_model_defaults
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine import attach, chunks, generate
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.inside import TokenPruning
from dycoke_cli.engine.other_inputs import DeepStack
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.engine.stage import Prefill
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.vocabulary import option_tokens
from tests.covering import EXTENDED, covered
from tests.families import test_unlisted
from tests.families.stock import (
    MERGING_ONLY,
    NONE_ONLY,
    QUESTION,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.test_chunked_prefill import CHUNK
from tests.families.test_together import QUESTIONS, loaded_of
from tests.families.tiny import MAKERS, UNLISTED_MAKERS, make

OPTIONS = ("a dog", "a dog that runs", "cat", "10")
TYPED = TypedOptions(OPTIONS)
# One of each kind of positions and masks whose layers keep every token.
SIX = ("llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl", "glm4v", "molmo2")
END = 5


def ids_of(processor: Any, answer: Answer) -> list[tuple[int, ...]]:
    """Token ids of the options in the spelling that was scored."""
    [ids] = [s.ids for s in option_tokens(processor, OPTIONS) if s.texts == answer.scoring.texts]
    return [*ids]


def assert_scores(answer: Answer, expected: Sequence[float]) -> None:
    """Log-probabilities are these, and the choice and its probabilities follow from them."""
    found = torch.tensor(answer.scoring.log_probabilities, dtype=torch.float64)
    wanted = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    means = [total / tokens for total, tokens in zip(expected, answer.scoring.tokens, strict=True)]
    weights = [math.exp(mean) for mean in means]
    shares = [weight / sum(weights) for weight in weights]
    assert list(answer.probabilities.values()) == pytest.approx(shares, abs=1e-5)
    assert answer.choice == answer.answer == OPTIONS[shares.index(max(shares))]
    assert answer.margin == pytest.approx(max(shares) - sorted(shares)[-2], abs=1e-5)


def summed(logits: torch.Tensor, ids: Sequence[int], ends: Sequence[int] = ()) -> float:
    """Log-probability of the tokens `ids`, and of one of `ends` behind them.

    Args:
        logits: `[len(ids) + 1, V]`: of the prompt's last token, and of each token of the option.
        ids: of the option.
        ends: ids of end tokens.
    """
    shares = logits.double().log_softmax(-1)
    total = sum(float(shares[place, token]) for place, token in enumerate(ids))
    return total + (float(shares[len(ids), list(ends)].logsumexp(0)) if ends else 0.0)


@contextmanager
def ending(family: str) -> Iterator[None]:
    """Within the block a model has an end token, which tiny ones otherwise don't have."""
    config = make(family)[0].generation_config
    config.eos_token_id = END
    try:
        yield
    finally:
        config.eos_token_id = None


@torch.no_grad()
def by_stock(family: str, inputs: dict[str, Any], options: Sequence[Sequence[int]]) -> list[float]:
    """A whole forward of the stock model for each option behind the prompt."""
    model, _ = make(family)
    return [summed(whole_forward(model, inputs, ids), ids) for ids in options]


@torch.no_grad()
def whole_forward(model: Any, inputs: dict[str, Any], ids: Sequence[int]) -> torch.Tensor:
    """`[len(ids) + 1, V]`: logits of the prompt's last token, and of each token behind it."""
    longer = dict(inputs)
    tokens = torch.tensor([[*ids]], dtype=torch.int64)
    longer["input_ids"] = torch.cat([inputs["input_ids"], tokens], 1)
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            more = torch.full_like(tokens, 1 if name == "attention_mask" else 0)
            longer[name] = torch.cat([inputs[name], more], 1)
    return model(**longer, use_cache=False).logits[0, -len(ids) - 1 :]


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_without_compression_each_is_a_forward_of_the_stock_model(family: str) -> None:
    _, processor = make(family)
    session = VideoSession(loaded_of(family), clip(4))
    answer = session.ask(QUESTION, Uncompressed(), typed=TYPED)
    inputs = stock_inputs(family, processor, clip(4))
    assert_scores(answer, by_stock(family, inputs, ids_of(processor, answer)))
    assert (answer.tokens.generated, answer.decode.steps) == (0, 0)


class Shortened:
    """What a method left of the prompt, as the text decoder was about to read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stock = attach.shorten

        def noted(prefill: Prefill) -> None:
            stock(prefill)
            self.arguments, self.state = prefill.kwargs, prefill.state
            self.embeds = self.arguments["inputs_embeds"][0].clone()
            self.sizes = prefill.selections[0].sizes if prefill.method.weighs_merged() else None
            self.cuts.clear()

        # By the first layer without the others: rows that are left, and merged ones as they are.
        self.cuts: dict[int, tuple[set[int], dict[int, torch.Tensor]]] = {}
        prune = TokenPruning._prune

        def pruned(of: Any, state: Any, pruning: LayerPruning, hidden: torch.Tensor) -> Any:
            before = dict(zip(of._tokens.tolist(), hidden[0], strict=True))
            found = prune(of, state, pruning, hidden)
            after = dict(zip(state.left.tolist(), found[0], strict=True))
            merged = {row: after[row] for row in after if not torch.equal(after[row], before[row])}
            self.cuts[pruning.layer] = {*after}, merged
            return found

        monkeypatch.setattr(attach, "shorten", noted)
        monkeypatch.setattr(TokenPruning, "_prune", pruned)

    @torch.no_grad()
    def scores(
        self, model: Any, options: Sequence[Sequence[int]], ends: Sequence[int] = ()
    ) -> list[float]:
        """The stock decoder without a cache, over the kept tokens and each option."""
        return [summed(self.logits(model, ids), ids, ends) for ids in options]

    @torch.no_grad()
    def logits(self, model: Any, ids: Sequence[int]) -> torch.Tensor:
        """`[len(ids) + 1, V]`: of the prompt's last token, and of each token of an option."""
        decoder, prompt = model.get_decoder(), len(self.embeds)
        own = torch.tensor(ids, dtype=torch.int64)
        seen = torch.cat([self.embeds, model.get_input_embeddings()(own)])
        positions = self.arguments["position_ids"]
        more = positions[..., -1:] + torch.arange(1, len(ids) + 1)
        positions = torch.cat([positions, more], -1)
        mask = torch.full((len(seen), len(seen)), -math.inf, dtype=torch.float64).triu(1)
        given = self.arguments["attention_mask"]
        if torch.is_tensor(given) and given.dim() == 4:  # frames see each other
            own = given[0, 0]
            allowed = own if own.dtype == torch.bool else own == 0
            mask[:prompt, :prompt].masked_fill_(allowed, 0.0)
        [sequence] = self.state.sequences
        if self.sizes is not None:
            mask[:, sequence.visual] += self.sizes.double().log()
        parts = {type(part): part for part in self.state.layer_inputs}
        hooks = []
        for number, layer in enumerate(decoder.layers):
            left, merged = self.cuts.get(number, ({*range(prompt)}, {}))
            dropped = [row for row in range(prompt) if row not in left]
            mask[:, dropped] = -math.inf
            mask[dropped, dropped] = 0.0  # a number for each, which nothing attends to
            give = partial(_masked, mask.clone(), merged)
            hooks.append(layer.register_forward_pre_hook(give, with_kwargs=True))
        stacked: dict[str, Any] = {}
        deepstack: Any = parts.get(DeepStack)
        if deepstack is not None:
            places = torch.nn.functional.pad(deepstack._places, (0, len(ids)))
            stacked = {
                "visual_pos_masks": places,
                "deepstack_visual_embeds": deepstack._stacked,
            }
        try:
            hidden = decoder(
                inputs_embeds=seen[None], position_ids=positions, use_cache=False, **stacked
            ).last_hidden_state
        finally:
            for hook in hooks:
                hook.remove()
        return model.lm_head(hidden[:, prompt - 1 :])[0]


def _masked(
    mask: torch.Tensor, merged: dict[int, torch.Tensor], _: Any, args: Any, kwargs: Any
) -> Any:
    hidden = args[0].clone()
    for row, state in merged.items():
        hidden[0, row] = state
    return (hidden, *args[1:]), kwargs | {"attention_mask": mask[None, None]}


def admitted(family: str, name: str) -> bool:
    """Whether a family gives a method what it needs."""
    method, known = create(name), FAMILIES[family]
    if method.shrink() is not None and not known.has_pictures:
        return False
    if layer_prunings(with_model_defaults(method, {})) and not known.causal:
        return False
    return known.tower is not None or "attention" not in method.needs


CASES = [(f, n) for f, n in product(SIX, METHODS) if n != "none" and admitted(f, n)]


@pytest.mark.parametrize(("family", "name"), covered(CASES, together=1))
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
        session.ask(QUESTION, method, max_new_tokens=len(ids))
    return forcing.total


@pytest.mark.parametrize("family", [*MERGING_ONLY, *NONE_ONLY])
def test_on_other_caches_each_option_is_as_if_it_was_generated(family: str) -> None:
    check_forced(loaded_of(family))


def unlisted(family: str) -> LoadedModel:
    """A tiny model that the table of families doesn't know."""
    model, processor, layout = test_unlisted.found(family)
    return LoadedModel(family, None, None, model, processor, layout, 0.0)


# Of nemotron_h_omni the output layer isn't where `in_float64` looks for it.
OUTSIDE = set(UNLISTED_MAKERS) - {"nemotron_h_omni"}


@test_unlisted.newest
@pytest.mark.parametrize("family", [pytest.param(n, marks=EXTENDED) for n in sorted(OUTSIDE)])
def test_of_an_unlisted_family_each_option_is_as_if_it_was_generated(family: str) -> None:
    check_forced(unlisted(family))


def check_forced(loaded: LoadedModel) -> None:
    """Compare the scores with those of generated options, by a method where the family has any."""
    session = VideoSession(loaded, clip(5))
    method = Uncompressed() if loaded.family.only_none else DyCoke(kv_prune=False)
    answer = session.ask(QUESTION, method, typed=TYPED)
    ids = ids_of(loaded.processor, answer)
    assert_scores(answer, [forced(session, method, own) for own in ids])


@pytest.mark.parametrize("family", SIX)
def test_three_unequal_prompts_are_answered_as_alone(family: str) -> None:
    loaded = loaded_of(family)
    sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate((1, 9, 5))]
    questions = [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=True)]
    method = DyCoke(prune_layer=2)
    together = ask_together(questions, method, GenerationOptions(typed=TYPED))
    for item, found in zip(questions, together, strict=True):
        alone = item.session.ask(item.question, method, typed=TYPED)
        assert_scores(found, alone.scoring.log_probabilities)


def test_a_prompt_in_chunks_and_a_second_question_are_as_one_in_one_pass(monkeypatch) -> None:
    loaded, method = loaded_of("llava_onevision"), DyCoke(prune_layer=2)
    session = VideoSession(loaded, clip(9), reuse=False)
    whole = [session.ask(q, method, typed=TYPED).scoring.log_probabilities for q in QUESTIONS]
    monkeypatch.setattr(chunks, "LONGEST_WHOLE", CHUNK + 1)
    monkeypatch.setattr(chunks, "CHUNK", CHUNK)
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
