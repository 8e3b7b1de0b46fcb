"""The control that every choice must beat: as many tokens as TTM keeps, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from dycoke_cli.compression.dycoke import DyCoke


@dataclass(frozen=True)
class RandomMerge(DyCoke):
    """DyCoke with random dropping in place of TTM (the paper's ablation).

    Stage 2 stays as it is; with `kv_prune=False` this is plain random dropping.

    Args:
        draw_seed: of the draw, so that a run can be repeated.
    """

    name: ClassVar[str] = "random"

    draw_seed: int = 0

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """As many indices as TTM keeps of `features[F, N, D]`, drawn over the whole video."""
        frames, per_frame = features.shape[:2]
        # Drawn on the CPU, so that every device gets the same tokens.
        generator = torch.Generator().manual_seed(self.draw_seed)
        drawn = torch.randperm(frames * per_frame, generator=generator)
        kept = drawn[: self.kept_tokens(frames, per_frame)]
        return kept.sort().values.to(features.device)
