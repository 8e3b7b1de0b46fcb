"""FastV on a stock model gives the tokens and logits of a model whose dropped keys are masked."""

import math
from itertools import product

import pytest
import torch
from transformers import LlamaConfig, Qwen2Config, Qwen3Config

from dycoke_cli import DyCoke, FastV
from dycoke_cli.compression.method import LayerPruning
from dycoke_cli.engine.kv_cache import SPARE_ENTRIES
from dycoke_cli.errors import UsageError
from dycoke_cli.stock.private_api import cache_of
from tests.covering import covered
from tests.engine.reference import Reference, top
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_generated, assert_same, generated
from tests.natural import CLIPS

NEW_TOKENS = 18

CASES = [
    # shape, frames, prune_ratio, prune_layer
    (0, 1, 0.5, 2),
    (0, 5, 0.5, 2),
    (0, 8, 0.75, 1),
    (0, 33, 0.9, 4),
    (1, 6, 0.625, 2),
    (1, 7, 0.3, 3),
    (2, 9, 0.5, 5),
    (2, 4, 0.99, 1),
]


def masked(size, columns, rows):
    """A causal mask [size, size] in which `rows` don't see `columns`."""
    mask = torch.full((size, size), -math.inf).double().triu(1)
    for row in rows:
        mask[row, columns] = -math.inf
    return mask


def by_masks(model, embeds, visual, ratio, layer):
    """Greedy tokens, their logits [vocabulary], and the visual rows that stay; by brute force."""
    reference = Reference(model)
    _, attentions = reference.logits(embeds, torch.arange(len(embeds)), {})
    row = attentions[layer - 1].mean(0)[-1]
    stay = top([float(row[c]) for c in visual], int(len(visual) * (1 - ratio)))
    kept = [visual.start + i for i in stay]
    dropped = [c for c in visual if c not in kept]
    seen, tokens, all_logits = embeds, [], []
    for _ in range(NEW_TOKENS):
        mask = masked(len(seen), dropped, range(len(seen)))
        masks = dict.fromkeys(range(layer, model.get_decoder().config.num_hidden_layers), mask)
        logits, _ = reference.logits(seen, torch.arange(len(seen)), masks)
        all_logits.append(logits[-1])
        tokens.append(int(logits[-1].argmax()))
        seen = torch.cat([seen, model.get_input_embeddings().weight[tokens[-1]][None]])
    return tokens, all_logits, kept


def generate(model, inputs, method, new_tokens=NEW_TOKENS):
    with method(model) as attachment:
        output = generated(model, inputs, new_tokens)
    return output, attachment.stats[0]


def check_equal(shape, inputs, seed, ratio, layer):
    model = make_model(shape, seed=seed)
    embeds, visual = prompt_rows(model, shape, inputs)
    tokens, logits, kept = by_masks(model, embeds, visual, ratio, layer)
    output, stats = generate(model, inputs, FastV(prune_ratio=ratio, prune_layer=layer))
    assert_generated(output, tokens, logits)
    assert stats.visual_kept == len(visual)
    assert stats.visual_last == stats.mean_active == len(kept)
    store = cache_of(output)
    rows = [held.entries for held in store.layers]
    text = len(embeds) - len(visual) + NEW_TOKENS - 1
    assert rows[:layer] == [len(visual) + text] * layer
    assert rows[layer:] == [len(kept) + text] * (len(rows) - layer)


@pytest.mark.parametrize(("shape", "frames", "ratio", "layer"), CASES)
def test_noise(shape, frames, ratio, layer):
    inputs = make_inputs(SHAPES[shape], frames, seed=frames)
    check_equal(SHAPES[shape], inputs, frames, ratio, layer)


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("frames", [1, 6])
def test_natural_pictures(clip, frames):
    inputs = make_inputs(SHAPES[1], frames, clip=CLIPS[clip](frames))
    check_equal(SHAPES[1], inputs, frames, 0.5, 2)


def test_rows_that_were_dropped_matter_to_nobody():
    # The reference lets dropped rows run on, without seeing each other. They could as well see all.
    model = make_model(SHAPES[0])
    inputs = make_inputs(SHAPES[0], 4)
    embeds, visual = prompt_rows(model, SHAPES[0], inputs)
    dropped = list(visual)[::2]
    kept = [row for row in range(len(embeds)) if row not in dropped]
    logits = []
    for blind in (range(len(embeds)), kept):
        masks = dict.fromkeys(range(2, 5), masked(len(embeds), dropped, blind))
        logits.append(Reference(model).logits(embeds, torch.arange(len(embeds)), masks)[0])
    assert_same(logits[0][kept], logits[1][kept])
    assert not torch.allclose(logits[0][dropped], logits[1][dropped], atol=1e-3)


@pytest.mark.parametrize(("shape", "frames"), covered(product(SHAPES, (1, 2, 5, 33)), together=1))
def test_with_nothing_dropped_it_is_plain_generate(shape, frames):
    model = make_model(shape, seed=frames)
    inputs = make_inputs(shape, frames, seed=frames)
    plain = model.generate(**inputs, max_new_tokens=24, do_sample=False)
    output, _ = generate(model, inputs, FastV(prune_ratio=0.0), 24)
    assert torch.equal(plain, output.sequences)


def test_left_padding_changes_nothing():
    model, inputs = make_model(SHAPES[0]), make_inputs(SHAPES[0], 6)
    padded = inputs | {
        name: torch.nn.functional.pad(inputs[name], (4, 0), value=fill)
        for name, fill in (("input_ids", 1), ("attention_mask", 0))
    }
    plain, _ = generate(model, inputs, FastV())
    shifted, _ = generate(model, padded, FastV())
    assert torch.equal(plain.sequences[0, -NEW_TOKENS:], shifted.sequences[0, -NEW_TOKENS:])


@pytest.mark.parametrize(
    ("text", "implementation"),
    covered(product((Qwen2Config, Qwen3Config, LlamaConfig), ("eager", "sdpa")), together=1),
)
def test_decoders_of_the_stock_model_with_masks(text, implementation):
    model = make_model(SHAPES[0], text=text)
    inputs = make_inputs(SHAPES[0], 6)
    embeds, visual = prompt_rows(model, SHAPES[0], inputs)
    model.set_attn_implementation("eager")
    expected = by_masks_on_the_stock_model(model, embeds, visual, ratio=0.5, layer=2)
    model.set_attn_implementation(implementation)
    output, _ = generate(model, inputs, FastV())
    logits = torch.cat(output.logits)
    assert_same(logits, expected)
    whole, _ = generate(model, inputs, FastV(prune_ratio=0.0))
    assert not torch.allclose(torch.cat(whole.logits).double(), expected, atol=1e-3)


@torch.no_grad()
def by_masks_on_the_stock_model(model, embeds, visual, ratio, layer):
    """Logits [steps, vocabulary] of the model's own greedy forwards, with masks."""
    decoder, seen = model.get_decoder(), embeds
    attentions = decoder(inputs_embeds=seen[None], output_attentions=True).attentions
    row = attentions[layer - 1][0].mean(0)[-1]
    stay = top([float(row[c]) for c in visual], int(len(visual) * (1 - ratio)))
    dropped = [c for i, c in enumerate(visual) if i not in stay]

    def mask(module, args, kwargs):
        size = args[0].shape[1]
        return args, kwargs | {"attention_mask": masked(size, dropped, range(size))[None, None]}

    hooks = [
        behind.register_forward_pre_hook(mask, with_kwargs=True)
        for behind in decoder.layers[layer:]
    ]
    logits = []
    for _ in range(NEW_TOKENS):
        last = decoder(inputs_embeds=seen[None], use_cache=False).last_hidden_state[0, -1]
        logits.append(model.get_output_embeddings()(last))
        seen = torch.cat([seen, model.get_input_embeddings().weight[logits[-1].argmax()][None]])
    for hook in hooks:
        hook.remove()
    return torch.stack(logits)


def test_bytes_are_freed_behind_the_layer():
    shape = SHAPES[0]
    inputs = make_inputs(shape, 8)
    output, _ = generate(make_model(shape), inputs, FastV(prune_ratio=0.75), 5)
    store = cache_of(output)
    # By hand: 32 visual tokens, 9 of text, 4 of the five written were read; rows of 2 heads of
    # 8 float64, keys and values.
    row = 2 * 2 * 8 * 8
    assert store.active_nbytes == row * (2 * (32 + 9 + 4) + 3 * (8 + 9 + 4))
    assert store.nbytes == row * (2 * (32 + 9) + 3 * (8 + 9) + 5 * SPARE_ENTRIES)


def test_nothing_is_counted_as_evicted_in_decode():
    _, stats = generate(make_model(SHAPES[0]), make_inputs(SHAPES[0], 4), FastV())
    assert (stats.choices_renewed, stats.tokens_evicted, stats.tokens_recalled) == (0, 0, 0)


def test_what_is_not_supported_is_refused():
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
