"""Probabilities of given answers behind a prompt: of options, and of numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch

from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generate import Stopwatch, model_inputs, not_finite
from dycoke_cli.engine.generation_options import end_tokens
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.prompt_batch import Batch
from dycoke_cli.engine.state import DecodeStep
from dycoke_cli.engine.thread_hook import before_forward
from dycoke_cli.errors import ModelError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.prompts.vocabulary import NumberTokens, OptionTokens, number_of
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of


@dataclass(frozen=True)
class TokenTree(DecodeStep):
    """Token sequences behind a prompt, their common beginnings merged."""

    # the distinct beginnings of the sequences, each behind its own beginnings; a node stands for
    # the last token of one
    nodes: tuple[tuple[int, ...], ...]
    cached: int = 0  # how many of them an earlier forward read: their keys are in the cache

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> TokenTree:
        """The tree of all beginnings, the whole sequences among them."""
        all_ = {tuple(ids[:end]) for ids in sequences for end in range(1, len(ids) + 1)}
        return cls(tuple(sorted(all_, key=lambda node: (len(node), node))))

    def grown(self, nodes: Iterable[tuple[int, ...]]) -> TokenTree:
        """The tree with more nodes, once those that it has were read."""
        return TokenTree((*self.nodes, *nodes), len(self.nodes))

    @property
    def unread(self) -> tuple[tuple[int, ...], ...]:
        """The T nodes that the next forward reads."""
        return self.nodes[self.cached :]

    @property
    def count(self) -> int:
        """T."""
        return len(self.unread)

    @property
    def tokens(self) -> torch.Tensor:
        """`[T]`, int64."""
        return torch.tensor([node[-1] for node in self.unread], dtype=torch.int64)

    @property
    def depths(self) -> torch.Tensor:
        """`[T]`, int64: how far behind the prompt each is, from 0."""
        return torch.tensor([len(node) - 1 for node in self.unread], dtype=torch.int64)

    def positions(self, upcoming: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep.positions`: by depth."""
        return upcoming + self.depths.to(upcoming.device)

    def behind(self, upcoming: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep.behind`: all of a tree is behind the same token."""
        return upcoming

    def mask(self, keep: torch.Tensor | None, key: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep.mask`: each attends to the prompt, and to its own beginning."""
        prompt = key.shape[2] - len(self.nodes)
        sees = torch.nn.functional.pad(self._own, (prompt, 0), value=True)
        sees = sees.to(key.device)[None, None]
        return sees if keep is None else sees & keep[:, None, None]

    @cached_property
    def _own(self) -> torch.Tensor:
        """`[T, N]`, bool: which of the tree's tokens each attends to, itself among them."""
        return torch.tensor(
            [[node[: len(other)] == other for other in self.nodes] for node in self.unread]
        )


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


@dataclass(frozen=True)
class Scores:
    """How likely answers are behind a prompt: options in their order, or numbers by likelihood."""

    texts: tuple[str, ...]  # as they were scored; numbers without zeros that don't count
    log_probabilities: tuple[float, ...]  # of each whole text, in nats
    tokens: tuple[int, ...]  # how many that is of each; of a number in its likeliest notation
    per_token: bool  # whether they compare per token, since options have different numbers of them
    ended: bool  # whether the end of the answer is scored: an option begins with another one
    mass: float  # probability that an answer begins with the first token of any, or is a number
    likeliest: int  # the likeliest first token of all

    @property
    def probabilities(self) -> list[float]:
        """Probability of each, given that the answer is one of them."""
        logs = torch.tensor(self.log_probabilities, dtype=torch.float64)
        return (logs / torch.tensor(self.tokens) if self.per_token else logs).softmax(0).tolist()


@dataclass
class Scored:
    """The scores of each prompt of a batch, and what scoring them took."""

    scores: list[Scores]  # of each prompt
    tokens: int  # read behind each prompt
    # prefill, first_token (since the watch's start), decode: the forwards behind it
    seconds: dict[str, float]
    cache: Any  # KV cache, with what was read in it


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
        attachment: in whose block this runs; None without one.
    """
    prompts = prefill(model, batch, watch, attachment)
    chosen = [max(spellings, key=partial(_mass, row)) for row in prompts.first]
    ends = sorted(end_tokens(model))
    # An option that begins with another one is at most as likely, whatever the model means.
    ended = [spelling.nested and bool(ends) for spelling in chosen]
    tree = TokenTree.of(
        ids if with_end else ids[:-1]
        for spelling, with_end in zip(chosen, ended, strict=True)
        for ids in spelling.ids
    )
    behind: list[Rows] = [{(): row} for row in prompts.first]
    if tree.nodes:
        read = prompts.read(tree, is_last=True)
        behind = [{**first, **rest} for first, rest in zip(behind, read, strict=True)]
    options = []
    for spelling, with_end, rows in zip(chosen, ended, behind, strict=True):
        sums = [_log_probability(ids, rows, ends if with_end else []) for ids in spelling.ids]
        tokens = tuple(len(ids) + with_end for ids in spelling.ids)
        options.append(
            Scores(
                texts=spelling.texts,
                log_probabilities=tuple(sums),
                tokens=tokens,
                per_token=len(set(tokens)) > 1,
                ended=with_end,
                mass=_mass(rows[()], spelling),
                likeliest=int(rows[()].argmax()),
            )
        )
    return Scored(options, len(tree.nodes), prompts.seconds, prompts.cache)


def _log_probability(ids: Sequence[int], rows: Rows, ends: list[int]) -> float:
    """Log-probability of a text, and of one of `ends` behind it.

    Args:
        rows: log-probabilities `[V]` of the token behind each beginning of it.
    """
    ids = tuple(ids)
    total = sum(float(rows[ids[:place]][token]) for place, token in enumerate(ids))
    return total + (float(rows[ids][ends].logsumexp(0)) if ends else 0.0)


def _mass(first: torch.Tensor, spelling: OptionTokens) -> float:
    """Probability of the first tokens of all options together, each token once."""
    tokens = sorted({ids[0] for ids in spelling.ids})
    return min(1.0, float(first[tokens].exp().sum()))


_LEAST = math.log(0.01)  # of the likeliest number
_AT_ONCE = 32
_MOST_TOKENS = 256  # read behind a prompt, as of options


@torch.inference_mode()
def score_numbers(
    model: Any,
    batch: Batch,
    vocabulary: NumberTokens,
    watch: Stopwatch,
    attachment: Attachment | None,
) -> Scored:
    """Find the numbers behind prompts; see `score_options`, which it is for options.

    Args: as of `score_options`, and
        vocabulary: of the model.
    """
    prompts = prefill(model, batch, watch, attachment)
    searches = [_Search(vocabulary, first) for first in prompts.first]
    rows: list[dict[tuple[int, ...], torch.Tensor]] = [{} for _ in searches]
    tree = TokenTree(())
    while any(wanted := [search.wanted() for search in searches]):
        # All prompts are read behind alike; each uses what it wanted, as if it were alone.
        if new := sorted({*(node for nodes in wanted for node in nodes)} - {*tree.nodes}):
            tree = tree.grown(new)
            for own, read in zip(rows, prompts.read(tree, is_last=False), strict=True):
                own.update(read)
        for search, own, nodes in zip(searches, rows, wanted, strict=True):
            for node in nodes:
                search.add(node, own[node])
    scores = [search.scores() for search in searches]
    return Scored(scores, len(tree.nodes), prompts.seconds, prompts.cache)


class _Search:
    """The search of one prompt: numbers found, and beginnings of numbers that weren't read.

    Args:
        first: `[V]`: log-probabilities of the answer's first token.
    """

    def __init__(self, vocabulary: NumberTokens, first: torch.Tensor) -> None:
        self._vocabulary, self._likeliest = vocabulary, int(first.argmax())
        self._found: dict[str, float] = {}
        self._tokens: dict[str, int] = {}
        self._unread: dict[tuple[int, ...], float] = {(): 0.0}
        self._read = 0
        self.add((), first)

    def wanted(self) -> list[tuple[int, ...]]:
        """The beginnings to be read next, likelier ones first; none where the search is over."""
        least = max(self._found.values(), default=-math.inf) + _LEAST
        likely = [node for node, log in self._unread.items() if log >= least]
        likely.sort(key=lambda node: (-self._unread[node], node))
        return likely[: min(_AT_ONCE, _MOST_TOKENS - self._read)]

    def add(self, node: tuple[int, ...], row: torch.Tensor) -> None:
        """Add what is behind a beginning that was wanted.

        Args:
            node: its tokens.
            row: `[V]`: log-probabilities of the next token.
        """
        before, text = self._unread.pop(node), self._vocabulary.text(node)
        self._read += bool(node)
        longer = self._vocabulary.next(node)
        for token, log in zip(longer, row[longer].tolist(), strict=True):
            if log > -math.inf:  # not suppressed
                self._unread[*node, token] = before + log
        if (number := number_of(text)) is not None:
            over = row.index_fill(0, torch.tensor(longer, dtype=torch.int64), -math.inf)
            log = before + float(over.logsumexp(0))
            self._found[number] = _log_sum((self._found.get(number, -math.inf), log))
            self._tokens.setdefault(number, len(node) + 1)

    def scores(self) -> Scores:
        """The numbers that were found."""
        ranked = sorted(self._found, key=lambda number: (-self._found[number], number))
        logs = tuple(self._found[number] for number in ranked)
        return Scores(
            texts=tuple(ranked),
            log_probabilities=logs,
            tokens=tuple(self._tokens[number] for number in ranked),
            per_token=False,
            ended=True,
            mass=min(1.0, sum(map(math.exp, logs))),
            likeliest=self._likeliest,
        )


def _log_sum(logs: Sequence[float]) -> float:
    """Logarithm of the sum of what these are logarithms of."""
    return float(torch.tensor(logs, dtype=torch.float64).logsumexp(0))
