"""Rules of decode pruning on a text model, against the stock model and selections made by hand."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.decode_rules.__main__ import rules
from benchmarks.decode_rules.contexts import context
from benchmarks.decode_rules.rules import NAME, Decode, Rule
from benchmarks.decode_rules.table import table

FIRST, COUNT, LENGTH = 3, 40, 50


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    made.set_attn_implementation(NAME)
    return made


def step(model: Any, *each: Rule) -> torch.Tensor:
    """The logits of one step, a row for each rule."""
    ids = torch.arange(LENGTH)[None] % 60
    with torch.inference_mode():
        cache = model(ids, use_cache=True).past_key_values
        keys = [layer.keys[0, :, FIRST : FIRST + COUNT] for layer in cache.layers]
        cache.batch_repeat_interleave(len(each))
        decode = Decode(each, FIRST, keys, 0)
        token = torch.full((len(each), 1), 7)
        logits: torch.Tensor = model(token, past_key_values=cache, decode=decode).logits[:, -1]
    return logits


def test_nothing_pruned_is_the_stock_model(model: Any) -> None:
    ids = torch.cat([torch.arange(LENGTH) % 60, torch.tensor([7])])[None]
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        stock = model(ids).logits[0, -1]
    model.set_attn_implementation(NAME)
    each = [Rule("full"), *(Rule(one.kind, 1, 0.0) for one in rules()[1:11])]
    for logits in step(model, *each):
        torch.testing.assert_close(logits, stock, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["dycoke", "exact"])
def test_the_last_layer_reads_what_was_selected(model: Any, kind: Any) -> None:
    """By the eager attention of the stock model, and its last layer by hand without the rest."""
    ids = torch.cat([torch.arange(LENGTH) % 60, torch.tensor([7])])[None]
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        out = model(ids, output_attentions=True, output_hidden_states=True)
        scores = out.attentions[0 if kind == "dycoke" else 1][0, :, -1, FIRST : FIRST + COUNT]
        kept = scores.mean(0).argsort(descending=True, stable=True)[:12] + FIRST
        hidden, last = out.hidden_states[1], model.model.layers[1]
        allowed = torch.ones(1, 1, 1, LENGTH + 1, dtype=torch.bool)
        allowed[..., FIRST : FIRST + COUNT] = False
        allowed[..., kept] = True
        mask = torch.zeros(1, 1, LENGTH + 1, LENGTH + 1).masked_fill(~allowed, -torch.inf)
        positions = model.model.rotary_emb(hidden, torch.arange(LENGTH + 1)[None])
        behind = last(hidden, attention_mask=mask, position_embeddings=positions)
        behind = behind[0] if isinstance(behind, tuple) else behind
        expected = model.lm_head(model.model.norm(behind))[0, -1]
    model.set_attn_implementation(NAME)
    full, found = step(model, Rule("full"), Rule(kind, 1, 0.7))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(found, full, atol=1e-3)


@pytest.mark.parametrize(
    ("kind", "most", "heads"),
    [("random", 12, 1), ("index", 12, 1), ("index per head", 12, 2), ("pages", 16, 2)],
)
def test_how_many_are_read(model: Any, kind: Any, most: int, heads: int) -> None:
    """Of 40 at P = .7 twelve; of pages one, for each KV head."""
    decode = Decode([Rule(kind, 0, 0.7)], FIRST, [torch.randn(2, COUNT, 8)], 0)
    mask = decode.mask(0, torch.randn(1, 4, 1, 8), torch.randn(1, 2, LENGTH, 8), 0.3)[0, :, 0]
    assert mask[:, :FIRST].all()
    assert mask[:, FIRST + COUNT :].all()
    assert mask[:, FIRST : FIRST + COUNT].sum(-1).tolist() == [most] * 4
    assert len({tuple(row.tolist()) for row in mask}) <= heads


def test_contexts_have_one_answer() -> None:
    for number in range(20):
        made = context(number, 222)
        assert made == context(number, 222)
        place = made.question.partition("in the ")[2].partition("?")[0]
        (fact,) = [one for one in made.facts.split(". ") if f"In the {place} there" in one]
        assert made.answer in fact
        assert made.facts.count(f" {made.answer}.") == 1


def test_the_table(tmp_path: Path) -> None:
    rows = [
        {"kind": "full", "layer": 0, "prune_ratio": 0.0, "steps": 4, "same": 4, "divergence": 0.0,
         "right": True},
        {"kind": "dycoke", "layer": 3, "prune_ratio": 0.7, "steps": 4, "same": 1,
         "divergence": 2.0, "right": False},
    ]  # fmt: skip
    header = {"model": "m.gguf", "layers": 30, "machine": "here", "commit": "abc"}
    better = [rows[0], rows[1] | {"same": 3}]
    lines = [
        header,
        *({"context": n, "prunable": 280, "rows": one} for n, one in enumerate((rows, better))),
    ]
    file = tmp_path / "x.jsonl.xz"
    file.write_bytes(lzma.compress("\n".join(map(json.dumps, lines)).encode()))
    made = table(file)
    assert "| 0.7 | DyCoke's rule | 3 | 50.0 ± 25.0 % | 0.500 | 0.0 ± 0.0 % |" in made
    assert "2 contexts of 280 prunable tokens" in made
