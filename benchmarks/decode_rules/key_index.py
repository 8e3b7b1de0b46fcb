"""A low-rank index of a layer's keys: approximate attention scores, by which each step selects.

Attention keys of a head vary along few directions. So a step can find the visual tokens that its
query attends to without reading their keys: it reads their coordinates on the principal axes, in 8
bits each. Source: Loki (arXiv 2406.02542, NeurIPS 2024), which ranks the tokens of a text model by
keys projected on principal axes, and computes attention over the top k with whole keys. There the
axes are calibrated offline, and projected keys are stored as they are; here they are those of the
visual keys of the prompt itself, and the index is 1/32 of the keys and values in bfloat16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

AXES = 8
"""Numbers of a key for each number of the index: D/8 axes for heads of size D."""
LARGEST = 127
"""Largest coordinate in 8 bits; the smallest is its negative."""


@dataclass(frozen=True)
class KeyIndex:
    """The keys of V visual tokens, approximately: a mean, and coordinates on C axes in 8 bits.

    Of H KV heads. The axes are the eigenvectors of the keys' covariance with the largest
    eigenvalues, C = D/8 of them, 1 at least.
    """

    # `[H, D, C + 1]`, float32: the axes, each as long as a coordinate of 1 (the largest of the V is
    # 127), and the mean
    directions: torch.Tensor
    codes: torch.Tensor  # `[H, C, V]`, int8: the coordinates

    @classmethod
    def of(cls, keys: torch.Tensor) -> KeyIndex:
        """Index keys `[H, V, D]`, float, with their rotary positions; V is 1 or more."""
        wide = keys.float()
        mean = wide.mean(1, keepdim=True)
        centered = wide - mean
        vectors = torch.linalg.eigh(centered.mT @ centered / keys.shape[1]).eigenvectors
        # eigh sorts by rising eigenvalue.
        axes = vectors[..., -max(1, keys.shape[2] // AXES) :].flip(-1)
        coordinates = (centered @ axes).mT
        unit = coordinates.abs().amax(-1) / LARGEST
        steps = coordinates / unit.clamp(min=torch.finfo(unit.dtype).tiny)[..., None]
        codes = steps.round().clamp(-LARGEST, LARGEST).to(torch.int8)
        return cls(torch.cat([axes * unit[:, None], mean.mT], -1), codes)

    def scores(self, query: torch.Tensor) -> torch.Tensor:
        """The products of a query with the keys, approximately.

        Args:
            query: `[…, H, G, D]`, float: G query heads for each KV head.

        Returns:
            `[…, H, G, V]`, float32.
        """
        # q · k ≈ q · mean + Σ (q · axis) · coordinate. The last column of `directions` is the mean.
        # The axes contain the units of the coordinates, so codes are used as they are.
        projected = query.float() @ self.directions
        return projected[..., :-1] @ self.codes.float() + projected[..., -1:]

    def attention(
        self,
        query: torch.Tensor,
        text: torch.Tensor,
        scaling: float,
        is_text: torch.Tensor,
        *,
        per_head: bool,
    ) -> torch.Tensor:
        """The attention of the query of each of S steps to each visual token.

        After softmax over approximate scores of visual tokens and exact ones of text, averaged
        over all query heads, or over those of each KV head.

        Args:
            query: `[S, Hq, D]`, Hq a multiple of H.
            text: `[H, T, D]`: the keys of all other tokens, the generated ones too.
            scaling: of the scores.
            is_text: `[S, T]`, bool: false for tokens that a step doesn't see.
            per_head: whether each KV head has a selection of its own.

        Returns:
            `[S, H, V]`, or `[S, 1, V]` where all heads share a selection; float32.
        """
        grouped = (query.float() * scaling).reshape(len(query), len(text), -1, query.shape[2])
        visual, others = self.scores(grouped), grouped @ text.float().mT
        others = others.masked_fill(~is_text[:, None, None], -torch.inf)
        # Text is part of the softmax: without it, a head that hardly attends to the video would
        # weigh as much in the mean over heads as one that attends to nothing else.
        weights = torch.cat([visual, others], -1).softmax(-1)[..., : visual.shape[-1]]
        return weights.mean(2) if per_head else weights.flatten(1, 2).mean(1, keepdim=True)
