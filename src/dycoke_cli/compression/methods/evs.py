"""EVS: the tokens that changed most since the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.method import top
from dycoke_cli.compression.similar import similarity_to_frame_before
from dycoke_cli.lazy_torch import torch


@dataclass(frozen=True)
class EVS(MergingEarly):
    """Efficient Video Sampling (arXiv 2510.14624), as vLLM ships it.

    A token's change is 1 - its cosine similarity to the token at the same position in the frame
    before. The tokens with the greatest change stay, ranked over the whole video at once; the
    first frame always stays whole, so that at least N tokens do. Ties go to the earlier token.

    Differs from vLLM (`vllm/multimodal/evs.py`): `retain` is its 1 - q, and similarities are
    computed in float64, not in the model's dtype. There, kept tokens keep their positions.
    """

    name: ClassVar[str] = "evs"
    title: ClassVar[str] = "EVS"
    summary: ClassVar[str] = "tokens that changed most from frame to frame"
    paper: ClassVar[str | None] = "arXiv 2510.14624"
    windowed: ClassVar[bool] = True

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        frames, per_frame = features.shape[:2]
        first = torch.full((1, per_frame), torch.inf, device=features.device)
        changes = torch.cat([first, 1 - similarity_to_frame_before(features)])
        return top(changes.flatten(), self.kept_tokens(frames, per_frame))

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, and no less than the first frame."""
        return max(per_frame, super().kept_tokens(frames, per_frame))
