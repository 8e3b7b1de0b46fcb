"""Answers of typed questions: one of the given options, with the probability of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch

from dycoke_cli.answer.answer import LEAST_MASS, Answer, Scoring
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.engine.attach import Attachment
from dycoke_cli.engine.generate import Generated, Stopwatch, kv_bytes, model_inputs, not_finite
from dycoke_cli.engine.generation_options import TypedOptions, end_tokens
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.state import DecodeStep
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.vision import Batch
from dycoke_cli.engine.vocabulary import OptionTokens, option_tokens
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.stock.forward import before_forward
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, cache_of

Node = tuple[int, ...]
Rows = Mapping[Node, torch.Tensor]
"""Log-probabilities `[V]`, float64, on the CPU, of the token behind each node of a tree."""


def asked_alone(loaded: LoadedModel) -> bool:
    """Whether typed questions are asked one by one: the cache of the model is a stock one."""
    config = loaded.model.get_decoder().config
    return bool(loaded.family.only_none or other_caches(config))


def spellings_of(loaded: LoadedModel, typed: TypedOptions) -> Sequence[OptionTokens]:
    """The spellings of a question's options, in tokens of a model.

    Raises:
        UsageError: the model reads pixels in each forward, so none can follow its prompt.
    """
    parameters = inspect.signature(loaded.model.forward).parameters.values()
    if any(
        one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters
    ):
        raise UsageError(
            f"{loaded.name} reads pixels in each forward, so options can't be scored behind its "
            "prompt; ask without them"
        )
    return option_tokens(loaded.processor, typed.texts)


@dataclass(frozen=True)
class TokenTree(DecodeStep):
    """Token sequences behind a prompt, their common beginnings merged."""

    # the T distinct beginnings of the sequences, each behind its own beginnings; a node stands for
    # the last token of one
    nodes: tuple[Node, ...]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int]]) -> TokenTree:
        """The tree of all beginnings, the whole sequences among them."""
        all_ = {tuple(ids[:end]) for ids in sequences for end in range(1, len(ids) + 1)}
        return cls(tuple(sorted(all_, key=lambda node: (len(node), node))))

    @property
    def count(self) -> int:
        """T."""
        return len(self.nodes)

    def positions(self, upcoming: torch.Tensor) -> torch.Tensor:
        """See `DecodeStep.positions`: by depth."""
        depths = torch.tensor([len(node) - 1 for node in self.nodes], dtype=torch.int64)
        return upcoming + depths.to(upcoming.device)

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
        """`[T, T]`, bool: which of the tree's tokens each attends to, itself among them."""
        return torch.tensor(
            [[node[: len(other)] == other for other in self.nodes] for node in self.nodes]
        )


@torch.inference_mode()
def generate_typed(
    loaded: LoadedModel,
    batch: Batch,
    spellings: Sequence[OptionTokens],
    watch: Stopwatch,
    attachment: Attachment | None,
) -> tuple[list[Generated], list[Scoring]]:
    """Score options behind prompts, in place of `generate`.

    Args:
        batch: the prompts, whose videos come with `prompts.inject_videos`.
        attachment: in whose block this runs; None without one.
    """
    model, started = loaded.model, watch.read()
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
    behind: list[Rows] = [{} for _ in first]
    if tree.nodes and isinstance(last.cache, KVStore):
        assert attachment is not None
        behind = _read_tree(model, tree, last.cache, attachment)
    elif tree.nodes:
        behind = [_read_leaves(model, tree, last, batch.mask, attachment)]
    scores = []
    for spelling, with_end, row, read in zip(chosen, ended, first, behind, strict=True):
        rows = {(): row, **read}
        sums = [_log_probability(ids, rows, ends if with_end else []) for ids in spelling.ids]
        tokens = tuple(len(ids) + with_end for ids in spelling.ids)
        scores.append(
            Scoring(
                texts=spelling.texts,
                log_probabilities=tuple(sums),
                tokens=tokens,
                per_token=len(set(tokens)) > 1,
                ended=with_end,
                mass=_mass(row, spelling),
                likeliest=loaded.processor.tokenizer.decode([int(row.argmax())]).strip(),
            )
        )
    seconds = {
        "prefill": prefilled - started,
        "first_token": prefilled,
        "decode": watch.read() - prefilled,
    }
    in_all, active = (count // len(scores) for count in kv_bytes(last.cache))
    nothing = torch.empty(0, dtype=torch.int64)
    outputs = [
        Generated(nothing, "", True, None, {**seconds}, in_all, active, len(tree.nodes))
        for _ in scores
    ]
    return outputs, scores


def _read_tree(model: Any, tree: TokenTree, cache: KVStore, attachment: Attachment) -> list[Rows]:
    """For each prompt what is behind each node, by one forward."""
    state = attachment.states[cache]
    state.step, state.flat = tree, False
    tokens = torch.tensor([node[-1] for node in tree.nodes], device=input_device(model))
    tokens = tokens.expand(cache.layers[0].keys.shape[0], -1)
    output = model(input_ids=tokens, use_cache=True, **{CACHE_ARGUMENT: cache})
    found = log_probabilities(model, output.logits, 2)
    return [dict(zip(tree.nodes, of_prompt, strict=True)) for of_prompt in found]


def _read_leaves(
    model: Any, tree: TokenTree, last: _LastCall, mask: torch.Tensor, attachment: Attachment | None
) -> Rows:
    """What is behind each node, with each longest beginning as a sequence of a batch.

    Args:
        mask: `[1, S]`: of the prompt.
    """
    device, cache, position = input_device(model), last.cache, last.position
    inner = {node[:-1] for node in tree.nodes}
    leaves = [node for node in tree.nodes if node not in inner]
    # As beams that all come from one; `batch_repeat_interleave` lacks layers of linear attention.
    cache.reorder_cache(torch.zeros(len(leaves), dtype=torch.int64, device=device))
    if attachment is not None:
        attachment.states[cache] = attachment.states[cache].repeated(len(leaves))
    if position is not None:
        position = position.expand(*position.shape[:-2], len(leaves), 1)
    mask = mask.expand(len(leaves), -1).to(device)
    rows: dict[Node, torch.Tensor] = {}
    for place in range(max(map(len, leaves))):
        # A shorter one goes on with its last token, behind which nothing is asked.
        tokens = torch.tensor([[leaf[min(place, len(leaf) - 1)]] for leaf in leaves])
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        output = model(
            input_ids=tokens.to(device),
            attention_mask=mask,
            position_ids=None if position is None else position + 1 + place,
            use_cache=True,
            **{CACHE_ARGUMENT: cache},
        )
        found = log_probabilities(model, output.logits[:, -1], 2 + place)
        for leaf, row in zip(leaves, found, strict=True):
            if place < len(leaf):
                rows[leaf[: place + 1]] = row
    return rows


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


def with_choice(
    answer: Answer,
    typed: TypedOptions,
    scoring: Scoring,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Add the choice to an answer, and a warning where no option is likely."""
    logs = torch.tensor(scoring.log_probabilities, dtype=torch.float64)
    shared = (logs / torch.tensor(scoring.tokens) if scoring.per_token else logs).softmax(0)
    shares: dict[str, float] = dict(zip(typed.texts, shared.tolist(), strict=True))
    choice = max(shares, key=shares.__getitem__)
    first, second = sorted(shares.values(), reverse=True)[:2]
    if on_text is not None:
        on_text(choice)
    mean = typed.mean(shares)
    about = _YES_NO if typed == TypedOptions.yes_no() else _OPTIONS
    return replace(
        answer,
        answer=choice,
        choice=choice,
        probabilities=shares,
        margin=first - second,
        mean=ABSENT if mean is None else mean,
        scoring=scoring,
        warnings=(*answer.warnings, *_unlikely(scoring.mass, scoring.likeliest, about)),
    )


_OPTIONS = (
    "its first token's probability is on the options",
    "name the options in the question, as in 'Answer with yes or no.'",
)
_YES_NO = (
    "its first token's probability is on yes and no",
    "ask what yes or no answers, as in 'Is there a dog? Answer with yes or no.'",
)


def _unlikely(mass: float, likeliest: str, about: tuple[str, str]) -> list[str]:
    if mass >= LEAST_MASS:
        return []
    share, (what, advice) = f"{100 * mass:.0f} %" if mass >= 0.01 else "less than 1 %", about
    return [
        f"the model wanted to say something else: {share} of {what}, and it would begin with "
        f"{likeliest!r}; {advice}"
    ]
