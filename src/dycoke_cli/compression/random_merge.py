"""The control that every choice must beat: as many tokens as TTM keeps, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from dycoke_cli.compression.base import Ablation
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RandomMerge(DyCoke):
    """DyCoke with random dropping in place of TTM (the paper's ablation).

    Stage 2 stays as it is; with `kv_prune=False` this is plain random dropping.
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random dropping"
    summary: ClassVar[str] = "as many tokens as dycoke keeps, drawn at random"
    ablations: ClassVar[Mapping[str, Ablation]] = {}

    draw_seed: Annotated[
        int, Param("Seed of the draw of tokens, so that a run can be repeated.", at_least=0)
    ] = 0

    def merging(self) -> str | None:
        """None: it isn't TTM that drops."""
        return None

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """As many indices as TTM keeps of `features[F, N, D]`, drawn over the whole video."""
        import torch

        frames, per_frame = features.shape[:2]
        # Drawn on the CPU, so that every device gets the same tokens.
        generator = torch.Generator().manual_seed(self.draw_seed)
        drawn = torch.randperm(frames * per_frame, generator=generator)
        kept = drawn[: self.kept_tokens(frames, per_frame)]
        return kept.sort().values.to(features.device)
