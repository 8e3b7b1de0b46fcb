"""Rules of decode pruning, side by side: a batch in which each row attends by another rule.

The rows share a prompt, a part of which may be pruned. From the first pruned layer on, a decoding
step attends to the part that its rule selects and to all other tokens. Nothing is moved or evicted:
a mask hides what isn't selected, so that what is measured is the selection alone. Keys and values
of the prompt are stored once for all rows, and several steps whose tokens are given are one forward
pass: each selects by its own query, as it would alone. Layers with a sliding window attend to their
window, and are never pruned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from benchmarks.decode_rules.key_index import KeyIndex
from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import tokens_left, top

NAME = "decode_rules"
"""Name of the attention, as `set_attn_implementation` takes it."""
PAGE = 16
"""Tokens of a page (Quest, arXiv 2406.10774, section 4.1)."""
RECALL_THRESHOLD = 0.9
"""The paper's."""

Kind = Literal["full", "dycoke", "random", "index", "index per head", "exact", "pages"]


@dataclass(frozen=True)
class Rule:
    """How a row selects."""

    # `full` selects everything; `dycoke` by the attention of the layer before `layer`, for all
    # layers behind it, anew only where that attention changed; `random` anew at each step, for all
    # layers; the others in each layer for itself: by approximate scores (`index`, also `index per
    # head`), by `exact` ones, or by bounds of `pages`
    kind: Kind
    layer: int = 0  # the first pruned one
    prune_ratio: float = 0.0  # P, of the prunable tokens


class Decode:
    """The decoding of all rows: what of the prompt they attend to, step by step.

    Args:
        prompt: by layer keys and values of the prompt, `[1, H, T, D]` each; where a layer has a
            window, those of the last tokens alone.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        prompt: Sequence[tuple[torch.Tensor, torch.Tensor]],
        prunable: slice,
        seed: int,
        windows: Mapping[int, int],
    ) -> None:
        self.rules, self._prompt, self._prunable = rules, prompt, prunable
        self._windows, self._length = windows, max(keys.shape[2] for keys, _ in prompt)
        self._count = prunable.stop - prunable.start
        self._selectors = {
            row: VisualSelector(rule.prune_ratio, RECALL_THRESHOLD)
            for row, rule in enumerate(rules)
            if rule.kind == "dycoke"
        }
        self._drawn = [torch.Generator("cpu").manual_seed(seed) for _ in rules]
        self._shared: dict[int, torch.Tensor] = {}
        self._indexes = {
            layer: KeyIndex.of(keys[0, :, prunable])
            for layer, (keys, _) in enumerate(prompt)
            if layer not in windows
        }

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """The attention of S steps in a layer.

        Args:
            layer: its index.
            query: `[B, Hq, S, D]`, float.
            key: `[B, H, G, D]`, of the G tokens generated so far, the S of the steps among them.
            value: of the same shape.
            scaling: of the scores.

        Returns:
            `[B, S, Hq, D]`.
        """
        keys, values = self._prompt[layer]
        batch, _, steps, width = query.shape
        grouped = (query * scaling).reshape(batch, key.shape[1], -1, width)  # groups, then steps
        # One product per KV head for all rows; where each row had a copy, copying took most time.
        many = grouped.transpose(0, 1).flatten(1, 2)
        asked = (many @ keys[0].mT).unflatten(1, (batch, -1)).transpose(0, 1)
        scores = torch.cat([asked, grouped @ key.mT], -1).unflatten(2, (-1, steps)).flatten(1, 2)
        visible = self._visible(layer, keys.shape[2], key.shape[2], steps)
        scores.masked_fill_(~visible, -torch.inf)
        earlier = visible[:, keys.shape[2] :]
        for row, rule in enumerate(self.rules):
            kept = self._kept(row, rule, layer, query[row], key[row], scores[row], earlier, scaling)
            if kept is not None:
                scores[row, :, :, self._prunable].masked_fill_(~kept, -torch.inf)
        weights = scores.softmax(-1).unflatten(1, (key.shape[1], -1)).flatten(2, 3)
        own, generated = weights.split([keys.shape[2], key.shape[2]], -1)
        many = own.transpose(0, 1).flatten(1, 2) @ values[0]
        out = many.unflatten(1, (batch, -1)).transpose(0, 1) + generated @ value
        return out.unflatten(2, (-1, steps)).flatten(1, 2).transpose(1, 2)

    def _visible(self, layer: int, stored: int, generated: int, steps: int) -> torch.Tensor:
        """What the last steps may attend to without any rule: `[S, stored + G]`, bool."""
        there = torch.arange(self._length - stored, self._length + generated)
        here = there[-steps:, None]
        window = self._windows.get(layer, len(there))
        return (there <= here) & (there > here - window)

    def _kept(
        self,
        row: int,
        rule: Rule,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        scores: torch.Tensor,
        earlier: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor | None:
        """What of the V prunable tokens a row's S steps attend to; None for everything.

        Args: as of `attend`, of one row.

        Returns:
            `[Hq or 1, S, V]`, bool.
        """
        left = tokens_left(self._count, rule.prune_ratio)
        if rule.kind == "dycoke" and layer == rule.layer - 1:
            attention = self._attention(scores, earlier.shape[1])
            selector = self._selectors[row]
            self._shared[row] = self._marked(torch.stack([selector.step(one) for one in attention]))
        if rule.kind == "random" and layer == rule.layer:
            drawn = self._drawn[row]  # on the CPU, so that every device has the same selections
            orders = [torch.randperm(self._count, generator=drawn, device="cpu") for _ in query[0]]
            self._shared[row] = self._marked(torch.stack(orders)[:, :left].to(query.device))
        if rule.kind == "full" or layer < rule.layer or layer in self._windows:
            return None
        if rule.kind in ("dycoke", "random"):
            return self._shared[row][None]
        if rule.kind == "exact":
            attention = self._attention(scores, earlier.shape[1])
            return self._marked(torch.stack([top(one, left) for one in attention]))[None]
        groups = len(query) // len(key)
        if rule.kind == "pages":
            return self._pages(query, layer, left).repeat_interleave(groups, 0)
        prompt = self._prompt[layer][0][0]
        others = [prompt[:, : self._prunable.start], prompt[:, self._prunable.stop :], key]
        text = torch.cat(others, 1)
        is_text = torch.nn.functional.pad(
            earlier, (text.shape[1] - earlier.shape[1], 0), value=True
        )
        attention = self._indexes[layer].attention(
            query.transpose(0, 1), text, scaling, is_text, per_head=rule.kind == "index per head"
        )
        # A stable sort: among equals the lower index comes first.
        chosen = attention.argsort(dim=-1, descending=True, stable=True)[..., :left]
        kept = self._marked(chosen.transpose(0, 1))
        return kept if len(kept) == 1 else kept.repeat_interleave(groups, 0)

    def _attention(self, scores: torch.Tensor, generated: int) -> torch.Tensor:
        """The heads' mean attention to the prunable tokens, `[S, V]`, of scores `[Hq, S, …]`.

        Tokens before a layer's window get none.
        """
        unseen = self._length + generated - scores.shape[-1]
        seen = scores.softmax(-1).mean(0)
        return torch.nn.functional.pad(seen, (unseen, 0))[..., self._prunable]

    def _marked(self, chosen: torch.Tensor) -> torch.Tensor:
        """Indices `[…, A]` as `[…, V]`, bool."""
        nothing = torch.zeros(*chosen.shape[:-1], self._count, dtype=torch.bool)
        return nothing.scatter(-1, chosen, True)

    def _pages(self, query: torch.Tensor, layer: int, left: int) -> torch.Tensor:
        """By KV head the tokens `[H, S, V]` of the pages with the highest bound of their scores.

        Whole pages, for no fewer tokens than other rules select.

        Args:
            query: `[Hq, S, D]`.
            layer: the index of the layer.
            left: how many tokens other rules select.
        """
        keys = self._prompt[layer][0][0, :, self._prunable]
        short = -self._count % PAGE
        paged = torch.nn.functional.pad(keys.mT, (0, short), mode="replicate").mT
        paged = paged.unflatten(1, (-1, PAGE))
        # The most that a key within these ends could score: a sum of the larger products.
        positive, negative = query.clamp(min=0), query.clamp(max=0)
        bound = [
            one.unflatten(0, (len(keys), -1)).flatten(1, 2) @ end.mT
            for one, end in ((positive, paged.amax(2)), (negative, paged.amin(2)))
        ]
        best = (bound[0] + bound[1]).unflatten(1, (-1, query.shape[1])).mean(1)
        chosen = best.topk(-(-left // PAGE)).indices
        pages = torch.zeros_like(best, dtype=torch.bool).scatter(-1, chosen, True)
        return pages.repeat_interleave(PAGE, -1)[..., : self._count]


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    decode: Decode | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA; with `decode`, decoding steps by its rules, whose cache has no prompt."""
    if decode is not None:
        return decode.attend(module.layer_idx, query, key, value, more["scaling"]), None
    stock: tuple[torch.Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
        module, query, key, value, attention_mask, **more
    )
    return stock


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
