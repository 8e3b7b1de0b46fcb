"""A low-rank index of a layer's keys: approximate attention scores, by which each step selects.

Attention keys of a head vary along few directions. So a step can find the visual tokens that its
query attends to without reading their keys: it reads their coordinates on the principal axes, in 8
bits each. Source: Loki (arXiv 2406.02542, NeurIPS 2024), which ranks the tokens of a text model by
keys projected on principal axes, and computes attention over the top k with whole keys. There the
axes are calibrated offline, and projected keys are stored as they are; here they are those of the
visual keys of the prompt itself, and the index is 1/32 of the keys and values in bfloat16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

AXES = 8
"""Numbers of a key for each number of the index: D/8 axes for heads of size D."""
LARGEST = 127
"""Largest coordinate in 8 bits; the smallest is its negative."""


@dataclass(frozen=True)
class KeyIndex:
    """The keys of V visual tokens, approximately: a mean, and coordinates on C axes in 8 bits.

    Of B sequences and H KV heads. The axes are the eigenvectors of the keys' covariance with the
    largest eigenvalues, C = D/8 of them, 1 at least.
    """

    # `[B, H, D, C + 1]`, float32: the axes, each as long as a coordinate of 1 means (the largest
    # one of the V is 127), and the mean
    directions: torch.Tensor
    codes: torch.Tensor  # `[B, H, C, V]`, int8: the coordinates

    @classmethod
    def of(cls, keys: torch.Tensor) -> KeyIndex:
        """Index the keys of one sequence.

        Args:
            keys: `[H, V, D]`, float, with their rotary positions.
        """
        import torch

        wide = keys.float()
        count = max(1, wide.shape[1])
        mean = wide.sum(1, keepdim=True) / count
        centered = wide - mean
        # Of weights that aren't finite the answer is refused later; eigh would fail here.
        covariance = torch.nan_to_num(centered.mT @ centered / count, posinf=0.0, neginf=0.0)
        # Not every device has eigenvectors.
        solver = covariance.device if covariance.device.type == "cuda" else "cpu"
        vectors = torch.linalg.eigh(covariance.to(solver)).eigenvectors.to(covariance.device)
        # eigh sorts by rising eigenvalue.
        axes = vectors[..., -max(1, keys.shape[2] // AXES) :].flip(-1)
        coordinates = (centered @ axes).mT
        most = coordinates.abs().amax(-1) if keys.shape[1] else torch.zeros_like(axes[:, 0])
        unit = most / LARGEST
        steps = coordinates / unit.clamp(min=torch.finfo(unit.dtype).tiny)[..., None]
        codes = steps.round().clamp(-LARGEST, LARGEST).to(torch.int8)
        directions = torch.cat([axes * unit[:, None], mean.mT], -1)
        return cls(directions[None], codes[None])

    @classmethod
    def together(cls, indexes: Sequence[KeyIndex]) -> KeyIndex:
        """Those of several sequences as one; shorter ones get zeros behind their codes."""
        import torch

        longest = max(index.codes.shape[3] for index in indexes)
        codes = [
            torch.nn.functional.pad(index.codes, (0, longest - index.codes.shape[3]))
            for index in indexes
        ]
        return cls(torch.cat([index.directions for index in indexes]), torch.cat(codes))

    @property
    def nbytes(self) -> int:
        """Bytes held, all of which a step reads."""
        return self.directions.nbytes + self.codes.nbytes

    def scores(self, query: torch.Tensor) -> torch.Tensor:
        """The products of a query with the keys, approximately.

        Args:
            query: `[B, H, G, D]`, float: G query heads for each KV head.

        Returns:
            `[B, H, G, V]`, float32.
        """
        # q · k ≈ q · mean + Σ (q · axis) · coordinate. The last column of `directions` is the mean.
        # The axes contain the units of the coordinates, so codes are used as they are.
        projected = query.float() @ self.directions
        return projected[..., :-1] @ self.codes.to(projected.dtype) + projected[..., -1:]


@dataclass(frozen=True)
class KeySelector:
    """Selects for a step and a layer the visual tokens with the most attention, approximately."""

    # whether each KV head has a selection of its own; if not, all heads of a layer share one
    per_head: bool = False

    def index(self, keys: Sequence[torch.Tensor]) -> KeyIndex:
        """Index the visual keys of each sequence of a batch, `[H, V, D]`, float."""
        return KeyIndex.together([KeyIndex.of(each) for each in keys])

    def select(
        self,
        index: KeyIndex,
        query: torch.Tensor,
        text: torch.Tensor,
        scaling: float,
        most: int,
        is_visual: torch.Tensor | None = None,
        is_text: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Select the visual tokens of a step.

        Args:
            index: of the keys of V visual tokens.
            query: `[B, Hq, 1, D]`, Hq a multiple of H.
            text: `[B, H, T, D]`: the keys of all other tokens, the generated ones too.
            scaling: of the scores.
            most: how many.
            is_visual: `[B, V]`, bool: false behind the tokens of a shorter sequence; None where all
                are equally long.
            is_text: `[B, T]`, bool: false in front of the tokens of a shorter sequence; or None.
            bias: `[B, V]`, float: added to the scores of visual tokens; None for nothing.

        Returns:
            `[B, H, most]`, or `[B, 1, most]` where all heads share a selection; int64, by falling
            attention.
        """
        attention = self.attention(index, query, text, scaling, is_visual, is_text, bias)
        return top_of_each(attention, most)

    def attention(
        self,
        index: KeyIndex,
        query: torch.Tensor,
        text: torch.Tensor,
        scaling: float,
        is_visual: torch.Tensor | None = None,
        is_text: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The attention of a step's query to each visual token, of which the most is selected.

        After softmax over approximate scores of visual tokens and exact ones of text, averaged
        over all query heads, or over those of each KV head.

        Args: as of `select`.

        Returns:
            `[B, H, V]`, or `[B, 1, V]` where all heads share a selection; float32.
        """
        import torch

        batch, heads, width = text.shape[0], text.shape[1], query.shape[3]
        grouped = (query.float() * scaling).reshape(batch, heads, -1, width)
        visual, others = index.scores(grouped), grouped @ text.to(grouped.dtype).mT
        if bias is not None:
            visual = visual + bias[:, None, None]
        if is_visual is not None:
            visual = visual.masked_fill(~is_visual[:, None, None], -torch.inf)
        if is_text is not None:
            others = others.masked_fill(~is_text[:, None, None], -torch.inf)
        # Text is part of the softmax: without it, a head that hardly attends to the video would
        # weigh as much in the mean over heads as one that attends to nothing else.
        weights = torch.cat([visual, others], -1).softmax(-1)[..., : visual.shape[-1]]
        return weights.mean(2) if self.per_head else weights.flatten(1, 2).mean(1, keepdim=True)


def top_of_each(attention: torch.Tensor, most: int) -> torch.Tensor:
    """The tokens with the highest attention; among equals the lower index comes first.

    The device isn't waited for.

    Args:
        attention: `[..., V]`, float, not negative.
        most: how many.

    Returns:
        `[..., most]`, int64, by falling attention.
    """
    import torch

    numbers = torch.arange(attention.shape[-1], device=attention.device, dtype=torch.float64)
    # `topk` has no order among equal values. In float64 each is lowered by its index, by less than
    # float32 numbers differ: relative to its size, and for zeros by a tiny number.
    ranked = attention.double() * (1 - numbers * 2.0**-42) - numbers * 2.0**-1000
    return ranked.topk(most).indices
