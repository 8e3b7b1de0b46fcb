"""Decode rules on a text model, against the stock model and selections made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
)

from benchmarks.decode_rules.ask_rules import MAX_NEW_TOKENS, asked_by_all, rules
from benchmarks.decode_rules.contexts import context
from benchmarks.decode_rules.rules import NAME, Decode, Rule
from benchmarks.decode_rules.text_decoder import Decoder, of_model, prompt_of
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of

FIRST, COUNT, LENGTH = 3, 40, 50


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    return of_model(LlamaForCausalLM(config).eval()).model


@pytest.fixture(scope="module")
def windowed() -> Any:
    """Gemma 3 in small: its first and last layer attend to sixteen tokens."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=3, head_dim=8,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3, sliding_window=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    return of_model(Gemma3ForCausalLM(config).eval()).model


def decoding(model: Any, *each: Rule) -> Decode:
    """Of a prompt of fifty tokens, forty of which may be pruned."""
    read = cache_of(model(torch.arange(LENGTH)[None] % 60, use_cache=True))
    layers = [(layer.keys, layer.values) for layer in read.layers]
    return Decode(each, layers, slice(FIRST, FIRST + COUNT), 0, of_model(model).windows)


@torch.inference_mode()
def step(model: Any, *each: Rule, tokens: Sequence[int] = (7,), together: int = 1) -> torch.Tensor:
    """The logits of one step, a row for each rule; of several, those of the last.

    Args:
        model: the model.
        each: the rules.
        tokens: of the steps.
        together: steps of one forward pass.
    """
    decode, cache = decoding(model, *each), DynamicCache()
    for begin in range(0, len(tokens), together):
        given = torch.tensor(tokens[begin : begin + together]).expand(len(each), -1)
        positions = torch.arange(LENGTH + begin, LENGTH + begin + given.shape[1])[None]
        logits: torch.Tensor = model(
            given, **{CACHE_ARGUMENT: cache}, position_ids=positions, decode=decode
        ).logits
    return logits[:, -1]


def test_nothing_pruned_is_the_stock_model(model: Any) -> None:
    ids = torch.cat([torch.arange(LENGTH) % 60, torch.tensor([7, 9])])[None]
    model.set_attn_implementation("sdpa")
    with torch.inference_mode():
        stock = model(ids).logits[0, -1]
    model.set_attn_implementation(NAME)
    each = [Rule("full"), *(Rule(one.kind, 1, 0.0) for one in rules(of_model(model))[1:11])]
    for logits in step(model, *each, tokens=[7, 9], together=2):
        torch.testing.assert_close(logits, stock, atol=1e-5, rtol=1e-4)


def test_steps_together_are_the_steps_one_by_one(model: Any) -> None:
    """Every rule, where steps select by themselves and where a selection lasts."""
    rows = rules(of_model(model))
    each = [*{replace(one, layer=min(one.layer, 1)): None for one in rows}]
    tokens = [7, 9, 30, 2, 7]
    together = step(model, *each, tokens=tokens, together=5)
    alone = step(model, *each, tokens=tokens)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(alone[0], alone[1:], atol=1e-3)


def test_a_sliding_window_is_kept_to_and_never_pruned(windowed: Any) -> None:
    """The stock model with all steps given at once; then the full layer without what is dropped."""
    ids = torch.cat([torch.arange(LENGTH) % 60, torch.tensor([7, 9])])[None]
    windowed.set_attn_implementation("sdpa")
    with torch.inference_mode():
        stock = windowed(ids).logits[0, -1]
    full, none, pruned = step(
        windowed, Rule("full"), Rule("dycoke", 1, 0.0), Rule("dycoke", 1, 0.7), tokens=[7, 9],
        together=2,
    )  # fmt: skip
    torch.testing.assert_close(full, stock, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(none, stock, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(pruned, stock, atol=1e-3)
    decode = decoding(windowed, Rule("exact", 0, 0.7))
    query, key, earlier = torch.randn(4, 1, 8), torch.randn(2, 1, 8), torch.ones(1, 1).bool()
    layers = [(0, 16), (1, LENGTH + 1), (2, 16)]
    kept = [
        decode._kept(0, decode.rules[0], layer, query, key, torch.randn(4, 1, n), earlier, 0.3)
        for layer, n in layers
    ]
    assert [one is None for one in kept] == [True, False, True]


@torch.inference_mode()
def test_what_a_window_does_not_show_gets_no_attention(windowed: Any) -> None:
    """DyCoke's selection by a layer with a window is of what that layer sees."""
    decode = decoding(windowed, Rule("dycoke", 1, 0.7))
    query, key, earlier = torch.randn(4, 1, 8), torch.randn(2, 1, 8), torch.ones(1, 1).bool()
    decode._kept(0, decode.rules[0], 0, query, key, torch.randn(4, 1, 16), earlier, 0.3)
    kept = decode._shared[0][0].nonzero().flatten() + FIRST
    # Of the fifty tokens it sees the last fifteen, of which eight may be pruned.
    assert {*range(LENGTH - 15, FIRST + COUNT)} <= {*kept.tolist()}


def test_rows_that_are_the_same_rule_stand_once() -> None:
    """The shapes of SmolLM2-135M (30 layers) and of Gemma 3 270M (18, of which 15 slide)."""
    plain = rules(Decoder(None, 30, 3, {}, frozenset()))
    assert len(plain) == 1 + 3 * (4 + 2 + 4)
    assert [one.layer for one in plain[1:5]] == [3, 5, 10, 20]
    gemma = Decoder(None, 18, 1, {n: 512 for n in range(18) if n not in (5, 11, 17)}, frozenset())
    assert [(one.kind, one.layer) for one in rules(gemma)[1:8]] == [
        ("dycoke", 3), ("dycoke", 6), ("dycoke", 12), ("random", 0), ("index", 0), ("exact", 0),
        ("pages", 0),
    ]  # fmt: skip


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
@torch.inference_mode()
def test_how_many_are_read(model: Any, kind: Any, most: int, heads: int) -> None:
    """Of 40 at P = .7 twelve; of pages one, for each KV head."""
    decode = decoding(model, Rule(kind, 0, 0.7))
    query, key = torch.randn(4, 2, 8), torch.randn(2, 2, 8)
    earlier = torch.ones(2, 2, dtype=torch.bool).tril()
    kept = decode._kept(0, decode.rules[0], 0, query, key, torch.randn(4, 2, 52), earlier, 0.3)
    assert kept is not None
    assert kept.shape[1:] == (2, COUNT)
    assert kept.sum(-1).unique().tolist() == [most]
    assert len({tuple(row.tolist()) for row in kept[:, 0]}) <= heads


@torch.inference_mode()
def test_pages_by_brute_force(model: Any) -> None:
    """The bound of a page is a sum over the head: of each dimension the larger product."""
    decode, query = decoding(model, Rule("pages", 0, 0.7)), torch.randn(4, 1, 8)
    keys = decode._prompt[1][0][0, :, FIRST : FIRST + COUNT]
    for head, kept in enumerate(decode._pages(query, 1, 12)[:, 0]):
        bounds = []
        for page in keys[head].split(16):
            ends = torch.stack([page.amin(0), page.amax(0)])
            each = [(ends * query[2 * head + one, 0]).amax(0).sum() for one in (0, 1)]
            bounds.append(float(sum(each)))
        best = bounds.index(max(bounds))
        assert kept.nonzero().flatten().tolist() == [*range(COUNT)][16 * best : 16 * best + 16]


def test_contexts_have_one_answer() -> None:
    for number in range(20):
        made = context(number, 146)
        assert made == context(number, 146)
        (fact,) = [one for one in made.text.split(". ") if made.answer in one.lower()]
        subject = made.question.removeprefix("What is ").removesuffix("?")
        assert fact.lower().startswith(f"{subject} is")
        assert len({*made.text.split(". ")}) == 147


class Characters:
    """A tokenizer of one token per character, with a template of its own."""

    chat_template = "its own"

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> str:
        return f"U:{messages[0]['content']} A:"

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(one) % 64 for one in text]}

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return " ".join(str(int(token)) for token in tokens)


def test_what_a_rule_generates_is_what_it_generates_alone(model: Any) -> None:
    """Where an answer is known from given tokens, and where it is generated."""
    asked = context(3, 1)
    prompt = prompt_of(Characters(), asked)
    assert prompt.prunable == slice(2, 2 + len(asked.text))
    model.generation_config.eos_token_id = 63
    with torch.inference_mode():
        rows = [*asked_by_all(of_model(model), Characters(), prompt, asked.answer, 0)]
        stock = model.generate(prompt.ids, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)[0]
    answer = Characters().decode(stock[prompt.ids.shape[1] :].tolist())
    assert rows[0].text == answer
    assert rows[0].same == rows[0].steps == len(answer.split()) - 1
    assert rows[0].divergence == 0
    for row in rows:
        assert (row.text == answer) == (row.same == row.steps), row
    # Where the fact is named at once, an answer is known as far as given tokens tell.
    named = replace(asked, answer=" ".join(answer.split()[:2]))
    with torch.inference_mode():
        begun = [*asked_by_all(of_model(model), Characters(), prompt, named.answer, 0)]
    assert any(known.text != row.text for known, row in zip(begun, rows, strict=True))
    for known, row in zip(begun, rows, strict=True):
        assert row.text.split()[: len(known.text.split())] == known.text.split()
        assert known.right == row.text.startswith(named.answer)
