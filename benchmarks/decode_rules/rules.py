"""Rules of decode pruning, side by side: a batch in which each row attends by another rule.

The rows share a prompt, a part of which may be pruned. From the first pruned layer on, a decoding
step attends to the part that its rule selects and to all other tokens. Nothing is moved or evicted:
an attention mask hides what isn't selected, so that what is measured is the selection alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dycoke_cli.compression.base import tokens_left, top
from dycoke_cli.compression.key_index import KeyIndex, KeySelector
from dycoke_cli.compression.kv_pruning import VisualSelector

NAME = "decode_rules"
PAGE = 16
"""Tokens of a page (Quest, arXiv 2406.10774, section 4.1)."""
RECALL_THRESHOLD = 0.9
"""The paper's."""

Kind = Literal["full", "dycoke", "random", "index", "index per head", "exact", "pages"]


@dataclass(frozen=True)
class Rule:
    """How a row selects.

    Args:
        kind: `full` selects everything; `dycoke` by the attention of the layer before `layer`, for
            all layers behind it, anew only where that attention changed; `random` anew at each
            step, for all layers; the others in each layer for itself: by approximate scores
            (`index`, also `index per head`), by `exact` ones, or by bounds of `pages`.
        layer: the first pruned one.
        prune_ratio: P, of the prunable tokens.
    """

    kind: Kind
    layer: int = 0
    prune_ratio: float = 0.0


class Decode:
    """The selections of all rows, step by step.

    Args:
        rules: of the rows.
        first: index of the first prunable token.
        keys: by layer `[H, V, D]`: the keys of the V prunable tokens.
        seed: of random selections.
    """

    def __init__(
        self, rules: Sequence[Rule], first: int, keys: Sequence[torch.Tensor], seed: int
    ) -> None:
        self.rules, self._first, self._count = rules, first, keys[0].shape[1]
        self._selectors = {
            row: VisualSelector(rule.prune_ratio, RECALL_THRESHOLD)
            for row, rule in enumerate(rules)
            if rule.kind == "dycoke"
        }
        self._active: dict[int, torch.Tensor] = {}
        self._indexes = [KeyIndex.of(each) for each in keys]
        self._generator = torch.Generator().manual_seed(seed)

    def mask(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """What a step attends to in a layer.

        Args:
            layer: its index.
            query: `[B, Hq, 1, D]`.
            key: `[B, H, S, D]`.
            scaling: of the scores.

        Returns:
            `[B, Hq, 1, S]`, bool.
        """
        batch, heads, _, width = query.shape
        groups = heads // key.shape[1]
        prunable = slice(self._first, self._first + self._count)
        allowed = torch.ones(batch, heads, 1, key.shape[2], dtype=torch.bool)
        grouped = (query * scaling).reshape(batch, key.shape[1], groups, width)
        attention = (grouped @ key.mT).softmax(-1)[..., prunable]  # of unpruned attention
        for row, rule in enumerate(self.rules):
            left = tokens_left(self._count, rule.prune_ratio)
            if rule.kind == "full":
                continue
            if rule.kind == "dycoke" and layer == rule.layer - 1:
                self._active[row] = self._selectors[row].step(attention[row].mean((0, 1)))
            if rule.kind == "random" and layer == rule.layer:
                order = torch.randperm(self._count, generator=self._generator)
                self._active[row] = order[:left]
            if layer < rule.layer:
                continue
            kept = torch.zeros(heads, self._count, dtype=torch.bool)
            if rule.kind in ("dycoke", "random"):
                kept[:, self._active[row]] = True
            elif rule.kind == "exact":
                kept[:, top(attention[row].mean((0, 1)), left)] = True
            elif rule.kind == "pages":
                pages = self._pages(grouped[row], key[row, :, prunable], left)
                kept = pages.repeat_interleave(groups, 0)
            else:
                selector = KeySelector(per_head=rule.kind == "index per head")
                text = torch.cat([key[row, :, : prunable.start], key[row, :, prunable.stop :]], 1)
                chosen = selector.select(
                    self._indexes[layer], query[row : row + 1], text[None], scaling, left
                )[0]
                shared = torch.zeros(chosen.shape[0], self._count, dtype=torch.bool)
                kept = shared.scatter(1, chosen, True).repeat_interleave(heads // len(chosen), 0)
            allowed[row, :, 0, prunable] = kept
        return allowed

    def _pages(self, query: torch.Tensor, keys: torch.Tensor, left: int) -> torch.Tensor:
        """By KV head the tokens `[H, V]` of the pages with the highest bound of their scores.

        Whole pages, for no fewer tokens than other rules select.
        """
        short = -self._count % PAGE
        padded = torch.nn.functional.pad(keys.mT, (0, short), mode="replicate").mT
        paged = padded.unflatten(1, (-1, PAGE))
        ends = torch.stack([paged.amin(2), paged.amax(2)])  # [2, H, pages, D]
        bound = (query[:, :, None] * ends[:, :, None]).amax(0).sum(-1).mean(1)
        best = bound.topk(-(-left // PAGE)).indices
        chosen = torch.zeros_like(bound, dtype=torch.bool).scatter(1, best, True)
        return chosen.repeat_interleave(PAGE, 1)[:, : self._count]


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    decode: Decode | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA; of a decoding step with `decode`, by its masks."""
    if decode is not None and query.shape[2] == 1:
        attention_mask = decode.mask(module.layer_idx, query, key, more["scaling"])
    stock: tuple[torch.Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
        module, query, key, value, attention_mask, **more
    )
    return stock


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
