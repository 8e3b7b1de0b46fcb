"""Asks a question about a text under every rule at once: what each rule generates and loses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks.decode_rules.rules import NAME, Decode, Kind, Rule
from benchmarks.decode_rules.text_decoder import Decoder, Prompt
from dycoke_cli.errors import ModelError
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of
from dycoke_cli.verification.run_checks import TOLERANCE

MAX_NEW_TOKENS = 12
"""Tokens of an answer at most, the first one and the one that ends it included."""

PAPERS_LAYER = 3
_RATIOS = (0.5, 0.7, 0.9)
_OWN: tuple[Kind, ...] = ("index", "index per head", "exact", "pages")


@dataclass(frozen=True)
class RuleAnswer:
    """What a rule made of a context."""

    rule: Rule  # how it selected
    steps: int  # decoding steps of the full cache's answer
    same: int  # steps whose most probable token is the full cache's
    divergence: float  # KL(full cache ‖ rule) over these steps, in nats
    text: str  # the answer under the rule, as far as it tells whether the fact is in it
    right: bool  # whether the fact is in it


def rules(decoder: Decoder) -> list[Rule]:
    """All rules, the full cache first: the paper's L, a sixth, a third and two thirds of all."""
    rows, count = [Rule("full")], decoder.layers
    layers = sorted({PAPERS_LAYER, count // 6, count // 3, 2 * count // 3} - {0})
    # Random drops of the same layers are the same rule; so are selections per head of a single one.
    differ = any(layer not in decoder.windows for layer in range(PAPERS_LAYER))
    own = [kind for kind in _OWN if kind != "index per head" or decoder.kv_heads > 1]
    for ratio in _RATIOS:
        rows += [Rule("dycoke", layer, ratio) for layer in layers]
        rows += [Rule("random", layer, ratio) for layer in (0, *[PAPERS_LAYER] * differ)]
        rows += [Rule(kind, 0, ratio) for kind in own]
    return rows


def asked_by_all(
    decoder: Decoder, tokenizer: Any, prompt: Prompt, fact: str, seed: int
) -> Iterator[RuleAnswer]:
    """What every rule makes of a context, in the order of `rules`.

    Agreement and divergence are those of the next token, with the full cache's own answer as what
    was generated before (teacher forcing), so that all steps of all rules are one forward pass. The
    text is what greedy decoding by the rule itself generates; where a rule agrees until the fact is
    named, that is the full cache's. The first token of an answer is the prefill's, and of no rule.
    """
    model, every = decoder.model, rules(decoder)
    read = model(prompt.ids, use_cache=True, logits_to_keep=1)
    layers = [(layer.keys, layer.values) for layer in cache_of(read).layers]
    first = read.logits[0, -1].argmax()

    def decode(chosen: Sequence[Rule]) -> Decode:
        return Decode(chosen, layers, prompt.prunable, seed, decoder.windows)

    def text_of(tokens: Any) -> str:
        return str(tokenizer.decode(tokens, skip_special_tokens=True))

    (answer,) = _generated(decoder, prompt, first, decode(every[:1]))
    forced = torch.tensor(answer[:-1]).expand(len(every), -1)
    logits = _step(model, DynamicCache(), forced, prompt, decode(every)).log_softmax(-1)
    likeliest = logits.argmax(-1)
    agrees = likeliest == torch.tensor(answer[1:])
    lost = torch.nn.functional.kl_div(
        logits, logits[:1].expand_as(logits), reduction="none", log_target=True
    ).sum((1, 2))
    texts = {}
    for row, same in enumerate(agrees.tolist()):
        known = (*same, False).index(False)  # then its own next token is known, too
        begun = [*answer[: known + 1], *likeliest[row, known : known + 1].tolist()]
        if all(same) or fact in text_of(begun).lower():
            texts[row] = text_of(answer if all(same) else begun)
    rest = [row for row in range(len(every)) if row not in texts]
    if rest:
        own = _generated(decoder, prompt, first, decode([every[row] for row in rest]))
        texts |= {row: text_of(tokens) for row, tokens in zip(rest, own, strict=True)}
    for row, rule in enumerate(every):
        yield RuleAnswer(
            rule,
            steps=len(answer) - 1,
            same=int(agrees[row].sum()),
            divergence=round(float(lost[row]), 5),
            text=texts[row],
            right=fact in texts[row].lower(),
        )


def check_equals_stock(decoder: Decoder, prompt: Prompt) -> None:
    """Check that with nothing pruned a decoding step has the logits of the stock model.

    An attention with more than a softmax of scores (soft caps, sinks, masks of its own) isn't what
    `Decode` computes, and its figures would mean nothing. The reference is eager attention, which
    every stock class implements whole.
    """
    model, behind = decoder.model, prompt.ids[:, :1]
    refused = f"the attention of {type(model).__name__} isn't what decode rules compute"
    whole = torch.cat([prompt.ids, behind], 1)
    model.set_attn_implementation("eager")
    stock = model(whole, use_cache=False, logits_to_keep=1).logits[0, -1]
    model.set_attn_implementation(NAME)
    try:
        read = model(prompt.ids, use_cache=True, logits_to_keep=1)
        layers = [(layer.keys, layer.values) for layer in cache_of(read).layers]
        decode = Decode([Rule("full")], layers, prompt.prunable, 0, decoder.windows)
        ours = _step(model, DynamicCache(), behind, prompt, decode)[0, -1]
    except (LookupError, TypeError, ValueError) as error:  # arguments that it has beside scores
        raise ModelError(f"{refused} ({error}); give another decoder") from error
    apart = float((ours - stock).abs().max() / stock.abs().max())
    if not apart <= TOLERANCE[stock.dtype]:
        raise ModelError(
            f"{refused}: with nothing pruned, logits differ by {apart:.1e} of the largest from the "
            "stock model's; give another decoder"
        )


def _step(model: Any, cache: Any, tokens: Any, prompt: Prompt, decode: Decode) -> Any:
    """The logits `[B, S, vocabulary]` behind S more tokens a row, `[B, S]`."""
    behind = prompt.ids.shape[1] + cache.get_seq_length()
    positions = torch.arange(behind, behind + tokens.shape[1])[None]
    return model(
        tokens, position_ids=positions, use_cache=True, decode=decode, **{CACHE_ARGUMENT: cache}
    ).logits


def _generated(decoder: Decoder, prompt: Prompt, first: Any, decode: Decode) -> list[list[int]]:
    """By row what greedy decoding generates, with the first token and with that which ends it."""
    ends, cache = decoder.ends, DynamicCache()
    rows = [[int(first)] for _ in decode.rules]
    for _ in range(MAX_NEW_TOKENS - 1):
        tokens = torch.tensor([row[-1:] for row in rows])
        chosen = _step(decoder.model, cache, tokens, prompt, decode)[:, -1].argmax(-1)
        for row, token in zip(rows, chosen.tolist(), strict=True):
            if row[-1] not in ends or len(row) == 1:
                row.append(token)
        if all(row[-1] in ends for row in rows):
            break
    return rows
