"""Scores the options of a typed question: one prefill, then one forward of all their tokens.

The probability of an option is that of its whole text behind the prompt. The first tokens' come
from the prefill. The others are read behind it in one forward, as a tree (`token_tree`) on the
method's cache: its tokens attend to all that is kept of the prompt, and to their own option. On a
stock cache whose layers don't hold every token (sliding windows, linear attention) a forward of
several tokens may be another computation than as many steps. There each option is a sequence of a
batch, and a forward reads one token of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generation import Stopwatch, end_tokens, model_inputs, not_finite
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.thread_hook import before_forward
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.errors import ModelError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.prompts.option_tokens import OptionTokens
from dycoke_cli.stock.cache_argument import CACHE_ARGUMENT, cache_of


@dataclass(frozen=True)
class OptionScores:
    """How likely each option is behind a prompt.

    Args:
        spelling: of the options: the one whose first tokens are likelier together.
        log_probabilities: of each whole text, in nats.
        scored: how many tokens that is of each.
        ended: whether the end of the answer is one of them: an option begins with another one.
        mass: probability of all first tokens together.
        likeliest: the likeliest first token of all.
    """

    spelling: OptionTokens
    log_probabilities: tuple[float, ...]
    scored: tuple[int, ...]
    ended: bool
    mass: float
    likeliest: int

    @property
    def per_token(self) -> bool:
        """Whether scores are means over tokens, since options have different numbers of them."""
        return len(set(self.scored)) > 1

    @property
    def scores(self) -> tuple[float, ...]:
        """Log-probability of each option, per token where `per_token`."""
        if not self.per_token:
            return self.log_probabilities
        pairs = zip(self.log_probabilities, self.scored, strict=True)
        return tuple(total / tokens for total, tokens in pairs)


@dataclass
class Scored:
    """The scores of each prompt of a batch, and what scoring them took.

    Args:
        options: the scores of each prompt.
        tokens: read behind each prompt.
        seconds: prefill, first_token (since the watch's start), decode: the forward behind it.
        cache: KV cache, with the options in it.
    """

    options: list[OptionScores]
    tokens: int
    seconds: dict[str, float]
    cache: Any


@torch.inference_mode()
def score_options(
    model: Any,
    batch: Batch,
    spellings: Sequence[OptionTokens],
    watch: Stopwatch,
    attachment: Attachment | None,
) -> Scored:
    """Score options behind prompts whose videos come with `prompts.inject_videos`.

    Args:
        model: a stock model.
        batch: the prompts; one where there is no attachment, or where its cache is a stock one.
        spellings: of the options; each prompt is scored in the likelier one.
        watch: the clock of the answers.
        attachment: in whose block this runs; None without one.

    Raises:
        ModelError: the model's logits aren't finite.
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
    first = _log_probabilities(model, output.logits[0], 1)
    prefilled = watch.read()
    chosen = [max(spellings, key=partial(_mass, row)) for row in first]
    ends = sorted(end_tokens(model))
    # An option that begins with another one is at most as likely, whatever the model means.
    ended = [spelling.nested and bool(ends) for spelling in chosen]
    tree = TokenTree.of(
        ids if with_end else ids[:-1]
        for spelling, with_end in zip(chosen, ended, strict=True)
        for ids in spelling.ids
    )
    behind: list[Mapping[tuple[int, ...], torch.Tensor]] = [{(): row} for row in first]
    if tree.nodes:
        if isinstance(last.cache, KVStore):
            assert attachment is not None
            read = _read_tree(model, last.cache, tree, attachment)
        else:
            read = [_read_rows(model, last, tree, batch.mask, attachment)]
        behind = [{(): row, **of_prompt} for row, of_prompt in zip(first, read, strict=True)]
    options = []
    for spelling, with_end, rows in zip(chosen, ended, behind, strict=True):
        sums = [_log_probability(ids, rows, ends if with_end else []) for ids in spelling.ids]
        options.append(
            OptionScores(
                spelling=spelling,
                log_probabilities=tuple(sums),
                scored=tuple(len(ids) + with_end for ids in spelling.ids),
                ended=with_end,
                mass=_mass(rows[()], spelling),
                likeliest=int(rows[()].argmax()),
            )
        )
    return Scored(
        options=options,
        tokens=len(tree.nodes),
        seconds={
            "prefill": prefilled - started,
            "first_token": prefilled,
            "decode": watch.read() - prefilled,
        },
        cache=last.cache,
    )


def _log_probability(
    ids: Sequence[int], rows: Mapping[tuple[int, ...], torch.Tensor], ends: list[int]
) -> float:
    """Log-probability of a text, and of one of `ends` behind it.

    Args:
        ids: of the text.
        rows: log-probabilities `[V]` of the token behind each beginning of it.
        ends: end tokens; empty where the end doesn't count.
    """
    ids = tuple(ids)
    total = sum(float(rows[ids[:place]][token]) for place, token in enumerate(ids))
    return total + (float(rows[ids][ends].logsumexp(0)) if ends else 0.0)


def _mass(first: torch.Tensor, spelling: OptionTokens) -> float:
    """Probability of the first tokens of all options together, each token once."""
    tokens = sorted({ids[0] for ids in spelling.ids})
    return min(1.0, float(first[tokens].exp().sum()))


def _log_probabilities(model: Any, logits: torch.Tensor, token: int) -> torch.Tensor:
    """Log-probabilities of logits `[..., V]`, float64, on the CPU.

    Args:
        model: for the error.
        logits: of the model.
        token: of the answer that they are of, from 1, for the error.

    Raises:
        ModelError: the logits aren't finite.
    """
    if not bool(logits.amax(-1).isfinite().all()):
        raise ModelError(not_finite(model, token - 1))
    return logits.cpu().double().log_softmax(-1)


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


def _read_tree(
    model: Any, cache: KVStore, tree: TokenTree, attachment: Attachment
) -> list[dict[tuple[int, ...], torch.Tensor]]:
    """Log-probabilities behind each node of a tree, for each prompt, by one forward."""
    attachment.expect_tree(cache, tree)
    batch = cache.layers[0].keys.shape[0]
    tokens = tree.tokens.to(input_device(model)).expand(batch, -1)
    output = model(input_ids=tokens, use_cache=True, **{CACHE_ARGUMENT: cache})
    rows = _log_probabilities(model, output.logits, 2)
    return [dict(zip(tree.nodes, of_prompt, strict=True)) for of_prompt in rows]


def _read_rows(
    model: Any,
    last: _LastCall,
    tree: TokenTree,
    mask: torch.Tensor,
    attachment: Attachment | None,
) -> dict[tuple[int, ...], torch.Tensor]:
    """The same behind one prompt, with each longest beginning as a sequence of a batch."""
    device = input_device(model)
    inner = {node[:-1] for node in tree.nodes}
    leaves = [node for node in tree.nodes if node not in inner]
    # As beams that all come from one; `batch_repeat_interleave` lacks layers of linear attention.
    last.cache.reorder_cache(torch.zeros(len(leaves), dtype=torch.int64, device=device))
    if attachment is not None:
        attachment.expect_rows(last.cache, len(leaves))
    position = last.position
    if position is not None:
        position = position.expand(*position.shape[:-2], len(leaves), 1)
    mask = mask.expand(len(leaves), -1).to(device)
    rows: dict[tuple[int, ...], torch.Tensor] = {}
    for place in range(max(map(len, leaves))):
        # A shorter one goes on with its last token, behind which nothing is asked.
        tokens = torch.tensor([[leaf[min(place, len(leaf) - 1)]] for leaf in leaves])
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        output = model(
            input_ids=tokens.to(device),
            attention_mask=mask,
            position_ids=None if position is None else position + 1 + place,
            use_cache=True,
            **{CACHE_ARGUMENT: last.cache},
        )
        found = _log_probabilities(model, output.logits[:, -1], 2 + place)
        for leaf, row in zip(leaves, found, strict=True):
            if place < len(leaf):
                rows[leaf[: place + 1]] = row
    return rows
