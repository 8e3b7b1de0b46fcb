"""Merging inside a stock model gives the logits of one whose hidden states are merged by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch

from dycoke_cli import HoliTom, VideoSession
from dycoke_cli.compression.inner_selection import MergingInside
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import cache_of
from tests.compression.test_inner_merging import by_loops
from tests.engine.reference import top
from tests.engine.test_fastv import generate
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_generated, assert_same
from tests.families.stock import (
    BOTH_WAYS,
    MERGING_ONLY,
    NONE_ONLY,
    clip,
    one_of_each_kind,
    stock_inputs,
)
from tests.families.test_together import loaded_of
from tests.families.tiny import MAKERS, make

NEW_TOKENS = 6


@dataclass(frozen=True)
class EveryOther(MergingInside):
    """Before the language model it keeps every other token; what it merges is as asked."""

    name: ClassVar[str] = "every-other"

    def choose(self, given: SelectionInputs) -> Selection:
        return Selection(torch.arange(0, given.features.shape[:2].numel(), 2))

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        return (frames * per_frame + 1) // 2


@torch.no_grad()
def by_hand(
    model: Any, embeds: torch.Tensor, visual: list[int], layer: int, share: float
) -> tuple[list[int], torch.Tensor, int]:
    """Greedy tokens, their logits, and how many visual tokens stay; no cache, masks alone.

    Args:
        model: its stock decoder runs over the whole sequence for every new token.
        embeds: `[R, D]`, the shortened prompt.
        visual: its visual rows.
        layer: the first that reads fewer of them.
        share: of them.
    """
    decoder, seen, prompt = model.get_decoder(), embeds, len(embeds)
    model.set_attn_implementation("eager")
    attentions = decoder(inputs_embeds=seen[None], output_attentions=True).attentions
    row = attentions[layer - 1][0].mean(0)[-1]
    assert len(row) == prompt
    stay = top([float(row[c]) for c in visual], max(1, round(len(visual) * share)))
    dropped = [c for i, c in enumerate(visual) if i not in stay]

    def merge(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        hidden = args[0].clone()
        merged = by_loops(hidden[0, visual].tolist(), stay)
        hidden[0, [visual[i] for i in stay]] = torch.tensor(merged, dtype=hidden.dtype)
        return (hidden, *args[1:]), kwargs

    def mask(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        size = args[0].shape[1]
        unseen = torch.full((size, size), -math.inf).double().triu(1)
        unseen[:, dropped] = -math.inf
        unseen.fill_diagonal_(0)  # rows that see nothing at all would be no numbers
        return args, kwargs | {"attention_mask": unseen[None, None]}

    hooks = [decoder.layers[layer].register_forward_pre_hook(merge, with_kwargs=True)]
    hooks += [x.register_forward_pre_hook(mask, with_kwargs=True) for x in decoder.layers[layer:]]
    logits = []
    for _ in range(NEW_TOKENS):
        last = decoder(inputs_embeds=seen[None], use_cache=False).last_hidden_state[0, -1]
        logits.append(model.get_output_embeddings()(last))
        seen = torch.cat([seen, model.get_input_embeddings().weight[logits[-1].argmax()][None]])
    for hook in hooks:
        hook.remove()
    model.set_attn_implementation("sdpa")
    return [int(x.argmax()) for x in logits], torch.stack(logits), len(stay)


@pytest.mark.parametrize("shape", SHAPES[:2])
@pytest.mark.parametrize(
    ("frames", "layer", "share"), [(1, 1, 0.5), (5, 2, 0.5), (8, 3, 0.3), (4, 2, 0.01), (3, 1, 1.0)]
)
def test_it_is_the_stock_model_on_merged_states(shape, frames, layer, share) -> None:
    model, inputs = make_model(shape, seed=frames), make_inputs(shape, frames, seed=frames)
    embeds, visual = prompt_rows(model, shape, inputs)
    kept = [*visual][::2]
    read = [row for row in range(len(embeds)) if row not in visual or row in kept]
    places = [read.index(row) for row in kept]
    tokens, logits, left = by_hand(model, embeds[read], places, layer, share)
    method = EveryOther(inner_layer=layer, inner_retain=share, positions="renumbered")
    output, stats = generate(model, inputs, method, NEW_TOKENS)
    assert_generated(output, tokens, logits)
    assert (stats.visual_kept, stats.visual_last) == (len(kept), left)
    assert left == method.attended_tokens(len(kept))
    text = len(embeds) - len(visual) + NEW_TOKENS - 1
    entries = [held.entries for held in cache_of(output).layers]
    assert entries[:layer] == [len(kept) + text] * layer
    assert entries[layer:] == [left + text] * (len(entries) - layer)


def test_merged_is_not_dropped() -> None:
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 6)

    class Dropped(EveryOther):
        def inside(self):
            inside = super().inside()
            return type(inside)(inside.layer, inside.keep)

    first = [
        generate(model, inputs, kind(inner_layer=2, positions="kept"), 1)[0].logits[0]
        for kind in (EveryOther, Dropped)
    ]
    assert not torch.allclose(*first, atol=1e-3)


CAN = [name for name in MAKERS if name not in (*NONE_ONLY, *MERGING_ONLY, *BOTH_WAYS)]


@pytest.mark.parametrize("family", one_of_each_kind(CAN))
def test_every_family_that_has_fastv_has_it(family) -> None:
    """Also with DeepStack; that nothing is lost where all stay is told by stock `generate()`."""
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(4))
    plain = EveryOther(positions="kept")
    expected, _ = generate(model, inputs, plain, 3)
    everything = EveryOther(inner_layer=1, inner_retain=1.0, positions="kept")
    whole, _ = generate(model, inputs, everything, 3)
    assert torch.equal(whole.sequences, expected.sequences)
    for ours, theirs in zip(whole.logits, expected.logits, strict=True):
        assert_same(ours[0], theirs[0])
    half = EveryOther(inner_layer=1, positions="kept")
    output, stats = generate(model, inputs, half, 3)
    assert stats.visual_last == half.attended_tokens(stats.visual_kept) < stats.visual_kept
    assert not torch.equal(output.logits[0], expected.logits[0])


@pytest.mark.parametrize("family", ["gemma4", "molmo2"])
def test_models_that_cannot_are_refused(family) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(4))
    with pytest.raises(UsageError, match=r"little to choose from inside it|both ways"):
        generate(model, inputs, EveryOther(inner_layer=1, positions="kept"), 2)


def test_a_layer_that_is_not_there_is_refused() -> None:
    model = make_model(SHAPES[0])
    with pytest.raises(UsageError, match="inner_layer must be from 1 to 4 for this model"):
        HoliTom(inner_layer=5)(model)


def test_a_session_says_what_later_layers_read() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(6))
    method = HoliTom(retain=0.5, inner_layer=1)
    first, again = (session.ask("what happens", method, max_new_tokens=4) for _ in range(2))
    assert first.answer == again.answer
    tokens = first.tokens
    assert (tokens.visual, tokens.visual_kept, tokens.visual_active_in_decode) == (24, 12, 6)
    layers = loaded.model.get_decoder().config.num_hidden_layers
    assert tokens.visual_read_per_step == (12 + (layers - 1) * 6) / layers
    assert first.method["inner_layer"] == 1
    outer = session.ask("what happens", HoliTom(retain=0.5), max_new_tokens=4)
    assert outer.tokens.visual_active_in_decode == 12
    assert outer.flops.prefill > first.flops.prefill
    both = [Question(session, "what happens"), Question(session, "what moves")]
    with pytest.raises(UsageError, match="the method holitom takes one sequence at a time"):
        ask_together(both, method)
