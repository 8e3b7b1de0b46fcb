"""Several continuations of one prompt, read in a single forward: each token once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from dycoke_cli.engine.generation_state import DecodeStep


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
