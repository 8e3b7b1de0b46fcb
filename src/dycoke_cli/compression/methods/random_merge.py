"""The control that every choice must beat: as many tokens, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import RETAIN, budget, merged_early
from dycoke_cli.compression.method import Ablation, BeforeVision, Selection, SelectionInputs
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

_RETAIN = replace(RETAIN, default="as many as TTM keeps; given, it turns off both stages of dycoke")


@dataclass(frozen=True)
class RandomMerge(DyCoke):
    """DyCoke with random dropping in place of TTM (the paper's ablation), or a budget at random.

    Without `retain`, as many tokens stay as TTM would keep, and stage 2 stays as it is; with
    `kv_prune=False` this is plain random dropping. With `retain` exactly that budget stays, and
    there is nothing else of DyCoke: `ttm` and `kv_prune` are False.
    """

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random dropping"
    summary: ClassVar[str] = "as many tokens as dycoke keeps, at random"
    ablations: ClassVar[Mapping[str, Ablation]] = {}

    draw_seed: Annotated[
        int, Param("Seed of the draw of tokens, so that a run can be repeated.", at_least=0)
    ] = 0
    retain: Annotated[float | None, _RETAIN] = None

    def __post_init__(self) -> None:
        if self.retain is not None:
            object.__setattr__(self, "ttm", False)
            object.__setattr__(self, "kv_prune", False)
        super().__post_init__()

    def merged_early(self) -> BeforeVision | None:
        """TTM's choice, as of DyCoke; with a budget, that of all methods that have one."""
        return super().merged_early() if self.retain is None else merged_early()

    def choose(self, inputs: SelectionInputs) -> Selection:
        """What is drawn, encoded or not."""
        return Selection(self.select(inputs.features))

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, or as many as TTM keeps."""
        if self.retain is None:
            return super().kept_tokens(frames, per_frame)
        return budget(frames, per_frame, self.retain)

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of `features[F, N, D]`, drawn over all of them."""
        frames, per_frame = features.shape[:2]
        # Drawn on the CPU, so that every device gets the same tokens.
        generator = torch.Generator().manual_seed(self.draw_seed)
        drawn = torch.randperm(frames * per_frame, generator=generator)
        kept = drawn[: self.kept_tokens(frames, per_frame)]
        return kept.sort().values.to(features.device)
