"""FastV, PyramidDrop and SparseVLM on a stock model give the logits of one with masked tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config, Qwen3Config

from dycoke_cli import DyCoke, FastV, PyramidDrop, SparseVLM
from dycoke_cli.compression.method import (
    LayerPruning,
    Method,
    layer_prunings,
    read_by_layer,
    with_model_defaults,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import cache_of
from tests.compression.clips import peaks
from tests.engine.reference import top
from tests.engine.tiny import SHAPES, make_inputs, make_model, padded_left, prompt_rows
from tests.exactness import assert_same, generated
from tests.families.stock import Cut, Masked, best

NEW_TOKENS = 3


def generate(model: Any, inputs: Any, method: Method) -> tuple[Any, Any]:
    with method(model) as attachment:
        output = generated(model, inputs, NEW_TOKENS)
    return output, attachment.stats[0]


def check(
    inputs: Any,
    model: Any,
    method: Method,
    cuts: list[Cut],
    queries: Sequence[int] = (-1,),
    implementation: str = "sdpa",
) -> None:
    """That the method is what masks give."""
    reference = Masked(model, inputs, 1)
    embeds, visual = reference.embeds, reference.visual
    expected, counts = reference.generate_in_cuts(NEW_TOKENS, cuts, queries)
    model.set_attn_implementation(implementation)
    output, stats = generate(model, inputs, method)
    assert_same(torch.cat(output.logits), expected)
    assert stats.left == {cut.layer: count for cut, count in zip(cuts, counts, strict=True)}
    assert stats.mean_active == counts[-1]
    # What is in the cache of each layer, counted from what was dropped before it.
    text, behind = len(embeds) - len(visual) + NEW_TOKENS - 1, stats.left
    layers = len(model.get_decoder().layers)
    read = [([len(visual)] + [behind[k] for k in behind if k <= n])[-1] for n in range(layers)]
    assert [held.entries for held in cache_of(output).layers] == [text + count for count in read]
    assert stats.read_by_layer(layers) == read
    assert read_by_layer(with_model_defaults(method, {}, layers), len(visual), layers) == read
    assert (stats.choices_renewed, stats.tokens_evicted, stats.tokens_recalled) == (0, 0, 0)


@pytest.mark.parametrize(
    ("shape", "frames", "ratio", "layer"),
    [
        (0, 1, 0.5, 2),
        (0, 5, 0.5, 2),
        (0, 8, 0.75, 1),
        (0, 33, 0.9, 4),
        (1, 7, 0.3, 3),
        (2, 9, 0.5, 5),
        (2, 4, 0.99, 1),
        (1, 6, 0.0, 2),
    ],
)
def test_fastv(shape, frames, ratio, layer) -> None:
    model, inputs = make_model(SHAPES[shape], seed=frames), make_inputs(SHAPES[shape], frames)
    method = FastV(prune_ratio=ratio, prune_layer=layer)
    check(inputs, model, method, [Cut(layer, layer - 1, best(ratio))])


@pytest.mark.parametrize("text", [Qwen3Config, LlamaConfig, Qwen2Config])
def test_fastv_in_other_decoders_and_in_eager_attention(text) -> None:
    model, inputs = make_model(SHAPES[0], text=text), make_inputs(SHAPES[0], 6)
    cuts = [Cut(2, 1, best(0.5))]
    check(inputs, model, FastV(), cuts, implementation="eager")


def test_left_padding_changes_nothing() -> None:
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 6)
    plain, _ = generate(model, inputs, FastV())
    shifted, _ = generate(model, padded_left(inputs), FastV())
    assert torch.equal(plain.sequences[0, -NEW_TOKENS:], shifted.sequences[0, -NEW_TOKENS:])


def test_what_is_not_supported_is_refused() -> None:
    model = make_model(SHAPES[0])
    with pytest.raises(UsageError, match=r"from 1 to 4 .* not 5"):
        FastV(prune_layer=5)(model)

    class Both(DyCoke):
        def inside(self):
            return LayerPruning(2, lambda attention: attention.argsort())

    with pytest.raises(UsageError, match="chooses both inside the language model and in decode"):
        Both(prune_layer=3)(model)
    Both(prune_layer=3, kv_prune=False)(model)
    model.set_attn_implementation("flex_attention")
    with pytest.raises(UsageError, match="flex_attention isn't supported with the method fastv"):
        FastV()(model)


@pytest.mark.parametrize(
    ("shape", "frames", "ratio", "stages", "stage_layers"),
    [
        (0, 9, 0.5, 4, None),  # layers 1, 2 and 3 of 5
        (2, 12, 0.5, 4, 1),
        (2, 7, 0.3, 3, 2),
        (1, 5, 0.75, 9, 1),  # more stages than the model has layers
        (0, 1, 0.9, 2, 4),  # nothing is left of a frame
        (1, 6, 0.0, 4, None),
    ],
)
def test_pyramiddrop(shape, frames, ratio, stages, stage_layers) -> None:
    model, inputs = make_model(SHAPES[shape], seed=frames), make_inputs(SHAPES[shape], frames)
    method = PyramidDrop(prune_ratio=ratio, stages=stages, stage_layers=stage_layers)
    layers = len(model.get_decoder().layers)
    each = stage_layers or max(1, round(layers / 4))
    firsts = [each * stage for stage in range(1, stages) if each * stage < layers]
    cuts = [Cut(layer, layer, best(ratio)) for layer in firsts]
    check(inputs, model, method, cuts)


def rated(
    share: float, attention: list[float], hidden: list[list[float]]
) -> dict[int, list[float] | None]:
    """SparseVLM's selection by loops: the best, and the means of clusters of the next best."""
    kept = top(attention, max(1, int(len(attention) * share)))
    others = [place for place in range(len(attention)) if place not in kept]
    stay: dict[int, list[float] | None] = dict.fromkeys(kept)
    if not others:
        return stay
    pool = [others[i] for i in top([attention[p] for p in others], int(len(others) * 0.3) + 1)]
    states = [hidden[place] for place in pool]
    count = int(len(pool) / 10) + 1
    centers = peaks(states, count, count)
    members: dict[int, list[list[float]]] = {center: [] for center in centers}
    for number, state in enumerate(states):
        nearest = min(centers, key=lambda c: (math.dist(states[c], state), c))
        members[number if number in centers else nearest].append(state)
    for center, inside in members.items():
        stay[pool[center]] = [math.fsum(x) / len(inside) for x in zip(*inside, strict=True)]
    return stay


def raters(embeds: torch.Tensor, visual: Sequence[int]) -> list[int]:
    """Rows of the text behind the video that stand out, by loops."""
    text = range(max(visual) + 1, len(embeds))
    sums = dict.fromkeys(text, 0.0)
    for row in visual:
        products = {t: math.exp(float(embeds[row].double() @ embeds[t].double())) for t in text}
        for t in text:
            sums[t] += products[t] / math.fsum(products.values())
    mean = math.fsum(sums.values()) / len(sums)
    return [t for t in text if sums[t] > mean]


@pytest.mark.parametrize(
    ("shape", "frames", "layers", "mean_retain"),
    [
        (0, 33, (1, 2, 4), 0.35),
        (2, 30, (1, 3, 5), 0.5),
        (1, 5, (1, 2, 3), 0.12),
        (2, 1, (2, 3, 4), 0.35),
    ],
)
def test_sparsevlm(shape, frames, layers, mean_retain) -> None:
    model, inputs = make_model(SHAPES[shape], seed=frames), make_inputs(SHAPES[shape], frames)
    embeds, visual = prompt_rows(model, SHAPES[shape], inputs)
    # By hand, of 32 layers: 3 with all, 4 with the first share, 9 with 2/3 of it, 16 with 11/30.
    first = (mean_retain - 3 / 32) * 32 / (4 + 9 * 2 / 3 + 16 * 11 / 30)
    cuts = [
        Cut(layer, layer - 1, partial(rated, share))
        for layer, share in zip(layers, (first, 2 / 3, 0.55), strict=True)
    ]
    names = ("first_layer", "second_layer", "third_layer")
    method = SparseVLM(mean_retain=mean_retain, **dict(zip(names, layers, strict=True)))
    queries = raters(embeds, visual)
    assert 0 < len(queries) < len(embeds) - max(visual) - 1
    check(inputs, model, method, cuts, queries)


def test_the_published_layers_and_counts() -> None:
    pyramid = with_model_defaults(PyramidDrop(), {}, 32)
    assert [pruning.layer for pruning in layer_prunings(pyramid)] == [8, 16, 24]
    assert read_by_layer(pyramid, 576, 32) == [*[576] * 8, *[288] * 8, *[144] * 8, *[72] * 8]
    smaller = layer_prunings(with_model_defaults(PyramidDrop(), {}, 28))
    assert [pruning.layer for pruning in smaller] == [7, 14, 21]
    sparse = with_model_defaults(SparseVLM(), {}, 32)
    assert [pruning.layer for pruning in layer_prunings(sparse)] == [3, 7, 16]
    # About 300, 200 and 110, and the recycled ones: of 279, 101 and 95 that are dropped.
    assert [len(p.keep(torch.rand(576))) for p in layer_prunings(sparse)] == [297, 384, 316]
    left = [*[576] * 3, *[306] * 4, *[208] * 9, *[117] * 16]
    assert read_by_layer(sparse, 576, 32) == left
    whole = [*[576] * 3, *[297] * 4, *[int(306 * 2 / 3)] * 9, *[int(208 * 0.55)] * 16]
    assert sum(whole) / 32 / 576 == pytest.approx(0.35, abs=0.01)


def test_of_selections_before_one_layer_the_last_is_made() -> None:
    class Twice(Method):
        def inside(self) -> tuple[LayerPruning, ...]:
            first = LayerPruning(2, lambda attention: attention[:1].long(), left=lambda _: 1)
            last = LayerPruning(2, lambda attention: torch.arange(3), left=lambda _: 3)
            late = LayerPruning(9, lambda attention: attention.long())
            return (late, first, last, LayerPruning(1, lambda _: torch.arange(5), left=lambda _: 5))

    assert [pruning.layer for pruning in layer_prunings(Twice(), 5)] == [1, 2]
    assert read_by_layer(Twice(), 7, 5) == [7, 5, 3, 3, 3]
