"""Proportional attention against the stock model: with merged tokens repeated, and with a mask."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch

from dycoke_cli import ToMe
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import Pruning, Selection, SelectionInputs
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.attention import _added, attention_to_keys
from dycoke_cli.engine.chunked_prefill import PrefixCache
from dycoke_cli.errors import UsageError
from tests.engine.batches import NEW_TOKENS, answer
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_same_steps, generated
from tests.marks import EXTENDED

SHAPE, FRAMES = SHAPES[0], 8
Merged = partial(ToMe, retain=0.3, positions="kept")


def compressed(model, inputs, method) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """What a language model reads, by the selection alone.

    Embeddings `[R, D]`, positions `[R]`, and how many tokens each stands for.
    """
    rows, visual = prompt_rows(model, SHAPE, inputs)
    tokens = rows[visual.start : visual.stop]
    chosen = method.choose(SelectionInputs(tokens.unflatten(0, (FRAMES, -1))))
    assert chosen.features is not None
    sizes = [chosen.into.tolist().count(kept) for kept in chosen.kept.tolist()]
    assert max(sizes) > 2
    before, behind = rows[: visual.start], rows[visual.stop :]
    positions = [*range(visual.start), *(visual.start + chosen.kept).tolist()]
    positions += range(visual.stop, len(rows))
    embeds = torch.cat([before, chosen.features.to(rows), behind])
    counts = [1] * len(before) + sizes + [1] * len(behind)
    return embeds, torch.tensor(positions), counts


@torch.no_grad()
def greedy(model, embeds, positions, counts) -> tuple[list[int], list[torch.Tensor]]:
    """Words and logits of the stock model, which reads everything anew for each word.

    Each token is repeated as often as it counts, and copies see each other.
    """
    words: list[int] = []
    logits = []
    for _ in range(NEW_TOKENS):
        more = model.get_input_embeddings()(torch.tensor(words, dtype=torch.int64))
        following = positions[-1] + 1 + torch.arange(len(words))
        read, at = torch.cat([embeds, more]), torch.cat([positions, following])
        times = torch.tensor([*counts, *[1] * len(words)])
        place = torch.arange(len(read))
        read, at, place = (one.repeat_interleave(times, 0) for one in (read, at, place))
        mask = torch.zeros(len(read), len(read), dtype=torch.float64)
        mask = mask.masked_fill(place > place[:, None], -torch.inf)
        out = model.get_decoder()(
            inputs_embeds=read[None], position_ids=at[None], attention_mask=mask[None, None]
        )
        logits.append(model.get_output_embeddings()(out.last_hidden_state[0, -1]))
        words.append(int(logits[-1].argmax()))
    return words, logits


def assert_answers(model, method, inputs, words, logits) -> None:
    output, _ = answer(model, method, inputs)
    assert output.sequences[0, -NEW_TOKENS:].tolist() == words
    assert_same_steps(output.logits, logits)


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=EXTENDED) for n in (1, 2))])
def test_a_merged_token_is_as_many_equal_ones(seed: int) -> None:
    model, inputs = make_model(SHAPE, seed=seed), make_inputs(SHAPE, FRAMES, seed=seed)
    method = Merged(proportional=True)
    embeds, positions, counts = compressed(model, inputs, method)
    words, logits = greedy(model, embeds, positions, counts)
    assert_answers(model, method, inputs, words, logits)
    _, unweighted = greedy(model, embeds, positions, [1] * len(counts))
    assert not torch.allclose(logits[0], unweighted[0], atol=1e-3)
    assert_answers(model, Merged(), inputs, *greedy(model, embeds, positions, [1] * len(counts)))


def test_a_shared_prefix_is_that_of_the_same_weights() -> None:
    model, inputs, prefix = make_model(SHAPE), make_inputs(SHAPE, FRAMES), PrefixCache()
    for weighs in (False, True, False):
        method = Merged(proportional=weighs)
        with attach(model, method, prefix=prefix):
            cached = generated(model, inputs, NEW_TOKENS)
        whole, _ = answer(model, method, inputs)
        assert_same_steps(cached.logits, whole.logits)


def test_recorded_attention_has_it() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(1, 4, 1, 8), torch.randn(1, 2, 6, 8)
    bias = torch.tensor([0, math.log(3), 0, math.log(2), 0, 0])
    repeated = key[:, :, [0, 1, 1, 1, 2, 3, 3, 4, 5]]
    each = attention_to_keys(query, repeated, scaling=0.3)
    sums = torch.stack([each[0], each[1:4].sum(), each[4], each[5:7].sum(), *each[7:]])
    torch.testing.assert_close(attention_to_keys(query, key, bias, scaling=0.3), sums)


def test_every_kind_of_mask_keeps_the_weights() -> None:
    """Two queries of four heads, three keys."""
    query = torch.zeros(1, 4, 2, 8)
    bias = torch.log(torch.tensor([1.0, 2.0, 3.0]))[None, None, None]
    least = torch.finfo(torch.float32).min
    causal = torch.tensor([[True, True, False], [True, True, True]])[None, None]
    expected = torch.where(causal, bias, least).expand(-1, 1, 2, 3)
    assert torch.equal(_added(None, bias, query, 3), expected)
    assert torch.equal(_added(causal, bias, query, 3), expected)
    added = torch.tensor([[0.0, 0.5, least], [0.0, -1.0, 0.25]])[None, None]
    assert torch.equal(_added(added, bias, query, 3), added + bias)


def test_sizes_by_hand() -> None:
    kept, into = torch.tensor([1, 4]), torch.tensor([1, 1, -1, 4, 4, 4])
    assert Selection(kept, torch.zeros(2, 3), into).sizes.tolist() == [2, 3]
    assert Selection(kept).sizes is None


def test_refusals() -> None:
    model = make_model(SHAPE)
    model.get_decoder().config._attn_implementation = "flash_attention_2"
    with pytest.raises(UsageError, match=r"isn't supported with flash_attention_2.* sdpa"):
        attach(model, Merged(proportional=True))
    attach(model, Merged())
    windows = make_model(SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=1)
    with pytest.raises(UsageError, match="layers that don't keep every token"):
        attach(windows, Merged(proportional=True))
    model.get_decoder().config._attn_implementation = "sdpa"


@dataclass(frozen=True)
class PrunedToo(ToMe):
    """As a plug-in might."""

    def pruning(self) -> Pruning:
        return Pruning(2, VisualSelector(0.5, 0.9))


def test_weights_do_not_go_with_a_selection_of_another_layer() -> None:
    with pytest.raises(UsageError, match="selection that later layers get of an earlier one"):
        attach(make_model(SHAPE), PrunedToo(proportional=True))
