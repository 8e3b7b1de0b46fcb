"""Prompts that were prefilled, and what is read behind them: a tree of tokens in one forward.

A tree (`token_tree`) is read on the method's cache: its tokens attend to all that is kept of the
prompt, and to their own beginning. On a stock cache whose layers don't hold every token (sliding
windows, linear attention) a forward of several tokens may be another computation than as many
steps. There each longest beginning is a sequence of a batch, and a forward reads one token of each.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generation import Stopwatch, model_inputs, not_finite
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.thread_hook import before_forward
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.errors import ModelError
from dycoke_cli.models.devices import input_device
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of

Rows = Mapping[tuple[int, ...], torch.Tensor]
"""Log-probabilities `[V]`, float64, on the CPU, of the token behind each node of a tree."""


@dataclass
class Prefilled:
    """Prompts behind which tokens are scored; see `prefill`."""

    model: Any  # a stock model
    mask: torch.Tensor  # `[B, S]` of the prompts
    attachment: Attachment | None  # of the method; None without one
    first: torch.Tensor  # `[B, V]`, float64: log-probabilities of each answer's first token
    started: float  # when the prefill began, on the clock `watch`
    ended: float  # when it ended
    watch: Stopwatch  # the clock of the answers
    _last: _LastCall

    @property
    def cache(self) -> Any:
        """The KV cache, with what was read behind the prompts."""
        return self._last.cache

    @property
    def seconds(self) -> dict[str, float]:
        """Of prefill, first_token (since the watch's start), and decode: all that was read."""
        return {
            "prefill": self.ended - self.started,
            "first_token": self.ended,
            "decode": self.watch.read() - self.ended,
        }

    def read(self, tree: TokenTree, *, is_last: bool) -> Sequence[Rows]:
        """Read a tree behind each prompt.

        Args:
            tree: with at least one node that wasn't read.
            is_last: whether nothing more is read behind these prompts.

        Raises:
            ModelError: the model's logits aren't finite.
        """
        if isinstance(self._last.cache, KVStore):
            assert self.attachment is not None
            return self._read_tree(self._last.cache, tree, self.attachment)
        return [self._read_rows(tree, is_last)]

    def _read_tree(
        self, cache: KVStore, tree: TokenTree, attachment: Attachment
    ) -> list[dict[tuple[int, ...], torch.Tensor]]:
        """For each prompt what is behind each unread node, by one forward."""
        attachment.states[cache].read_next(tree)
        batch = cache.layers[0].keys.shape[0]
        tokens = tree.tokens.to(input_device(self.model)).expand(batch, -1)
        output = self.model(input_ids=tokens, use_cache=True, **{CACHE_ARGUMENT: cache})
        rows = log_probabilities(self.model, output.logits, 2)
        return [dict(zip(tree.unread, of_prompt, strict=True)) for of_prompt in rows]

    def _read_rows(self, tree: TokenTree, is_last: bool) -> dict[tuple[int, ...], torch.Tensor]:
        """What is behind each node, with each longest beginning as a sequence of a batch."""
        last, device = self._last, input_device(self.model)
        inner = {node[:-1] for node in tree.nodes}
        leaves = [node for node in tree.nodes if node not in inner]
        # Such a cache can't forget what it read, so that a later tree is read on another copy.
        cache = last.cache if is_last else copy.deepcopy(last.cache)
        # As beams that all come from one; `batch_repeat_interleave` lacks layers of linear
        # attention.
        cache.reorder_cache(torch.zeros(len(leaves), dtype=torch.int64, device=device))
        if self.attachment is not None:
            states = self.attachment.states
            states[cache] = states[last.cache].repeated(len(leaves))
        position = last.position
        if position is not None:
            position = position.expand(*position.shape[:-2], len(leaves), 1)
        mask = self.mask.expand(len(leaves), -1).to(device)
        rows: dict[tuple[int, ...], torch.Tensor] = {}
        for place in range(max(map(len, leaves))):
            # A shorter one goes on with its last token, behind which nothing is asked.
            tokens = torch.tensor([[leaf[min(place, len(leaf) - 1)]] for leaf in leaves])
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)
            output = self.model(
                input_ids=tokens.to(device),
                attention_mask=mask,
                position_ids=None if position is None else position + 1 + place,
                use_cache=True,
                **{CACHE_ARGUMENT: cache},
            )
            found = log_probabilities(self.model, output.logits[:, -1], 2 + place)
            for leaf, row in zip(leaves, found, strict=True):
                if place < len(leaf):
                    rows[leaf[: place + 1]] = row
        return rows


def prefill(model: Any, batch: Batch, watch: Stopwatch, attachment: Attachment | None) -> Prefilled:
    """Prefill prompts whose videos come with `prompts.inject_videos`.

    Args:
        attachment: in whose block this runs; None without one.
    """
    started = watch.read()
    with _last_call(model) as last:
        output = model.generate(
            **model_inputs(model, batch),
            max_new_tokens=1,
            do_sample=False, temperature=None, top_p=None, top_k=None,
            return_dict_in_generate=True,
            # Not the processed ones: a checkpoint may lower what the prompt repeats.
            output_logits=True,
        )  # fmt: skip
    first = log_probabilities(model, output.logits[0], 1)
    return Prefilled(model, batch.mask, attachment, first, started, watch.read(), watch, last)


def log_probabilities(model: Any, logits: torch.Tensor, token: int) -> torch.Tensor:
    """Log-probabilities of logits `[..., V]`, float64, on the CPU.

    Args:
        model: for the tokens that its checkpoint suppresses, which are -inf, and for the error.
        logits: of the model.
        token: of the answer that they are of, from 1, for the error.

    Raises:
        ModelError: the logits aren't finite.
    """
    if not bool(logits.amax(-1).isfinite().all()):
        raise ModelError(not_finite(model, token - 1))
    found = logits.cpu().double()
    if suppressed := model.generation_config.suppress_tokens:
        found = found.index_fill(-1, torch.tensor(suppressed), -torch.inf)
    return found.log_softmax(-1)


@dataclass
class _LastCall:
    """What the text decoder was last called with: the KV cache, and the last position."""

    cache: Any = None
    position: torch.Tensor | None = None


@contextmanager
def _last_call(model: Any) -> Iterator[_LastCall]:
    """Note what the text decoder is called with in the block, behind the hooks of a method."""
    last = _LastCall()

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        positions = kwargs.get("position_ids")
        last.cache = cache_of(kwargs)
        last.position = None if positions is None else positions[..., -1:]

    hook = before_forward(model.get_decoder(), note)
    try:
        yield last
    finally:
        hook.remove()
