"""Models whose positions are time, height and width: remaining tokens keep theirs.

vLLM has a protocol for that (`SupportsMultiModalPruning`), which its own video pruning uses: a
model puts the positions of each token beside its features, and vLLM hands them back with all
positions of the prompt. It does so where a server was started with a pruning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch


class OriginalPositions:
    """Positions of stock transformers, whatever was dropped: a mix-in, before a model's own class.

    Those of text don't depend on which tokens are kept, so that it doesn't matter what was found in
    vLLM's cache of prefixes.
    """

    # behind the features of a token: its time, height and width, counted from where its item
    # begins, and others that aren't read
    channels: ClassVar[int]
    is_multimodal_pruning_enabled: bool

    def extent(self, input_tokens: list[int], feature: Any) -> int:
        """How many positions text behind an image or a video is behind that before it."""
        raise NotImplementedError

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[torch.Tensor, int]:
        """Positions `[3, N]`, int64, of a prompt, and what a decoding step adds to its index.

        Those of an item's tokens are -1 less the position where it begins, until they are
        recomputed.
        """
        if not self.is_multimodal_pruning_enabled:
            return super().get_mrope_input_positions(input_tokens, mm_features)  # type: ignore[misc]
        steps = torch.ones(len(input_tokens), dtype=torch.long)
        items = torch.zeros(len(input_tokens), dtype=torch.bool)
        for feature in mm_features:
            begin = feature.mm_position.offset
            end = begin + feature.mm_position.length
            items[begin:end], steps[begin:end] = True, 0
            steps[end - 1] = self.extent(input_tokens, feature)
        positions = steps.cumsum(0) - steps
        delta = int(steps.sum()) - len(input_tokens)
        return torch.where(items, -1 - positions, positions).expand(3, -1).clone(), delta

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | torch.Tensor,
        multimodal_embeddings: Sequence[torch.Tensor],
        mrope_positions: torch.Tensor,
        num_computed_tokens: int,
    ) -> tuple[Sequence[torch.Tensor], torch.Tensor, int]:
        """See `SupportsMultiModalPruning`: of the tokens of a chunk, features and positions."""
        positions = mrope_positions.clone()
        if multimodal_embeddings:
            found = torch.cat([each[:, -self.channels :][:, :3] for each in multimodal_embeddings])
            [rows] = (positions[0] < 0).nonzero(as_tuple=True)
            rows = rows[rows >= num_computed_tokens][: len(found)]
            positions[:, rows] = found.T.to(positions) - 1 - positions[:, rows]
        features = [each[:, : -self.channels] for each in multimodal_embeddings]
        return features, positions, int(positions[0, -1]) + 1 - positions.shape[1]
