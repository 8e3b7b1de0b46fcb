"""VisionZip: the tokens that the vision encoder attends to, and the rest merged into a few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import Contextual, FrameByFrame
from dycoke_cli.compression.method import Selection, into_itself, top
from dycoke_cli.compression.similar import all_but, means, wide
from dycoke_cli.lazy_torch import F, torch


@dataclass(frozen=True)
class VisionZip(FrameByFrame):
    """VisionZip (arXiv 2412.04467, CVPR 2025), frame by frame.

    Each frame keeps as many tokens (give or take one, for the total to be the budget): most are
    dominant, those with the most attention, one at least. The others are contextual: of the rest,
    as many as are wanted are targets, evenly spaced from the first on; every other token of the
    rest is merged into the target whose keys are most like its own (cosine similarity), which
    becomes the sum of itself and the mean of those. Ties go to the lower index.

    Differs from the authors' code in acting behind the projector and pooling, as HoliTom's authors
    do on LLaVA-OneVision, with the mean attention of all queries where the tower has no class
    token; in the layer, which there is the last but one of CLIP (here the one whose output is
    used); in the class token, which they keep as one of the dominant; in keeping tokens in reading
    order, where they put the contextual ones behind.
    """

    name: ClassVar[str] = "visionzip"
    title: ClassVar[str] = "VisionZip"
    summary: ClassVar[str] = "attended tokens; the others merged into some"
    paper: ClassVar[str | None] = "arXiv 2412.04467, CVPR 2025"
    windowed: ClassVar[bool] = True

    contextual: Contextual = 10 / 64

    def reduced(
        self, tokens: torch.Tensor, attention: torch.Tensor, keys: torch.Tensor, count: int
    ) -> Selection:
        """The dominant tokens, and the contextual ones with what is merged into them."""
        dominant = top(attention, min(count, max(1, int(count * (1 - self.contextual)))))
        contextual = count - len(dominant)
        if not contextual:
            return Selection(dominant)
        is_rest = all_but(dominant, len(attention))
        rest = is_rest.nonzero().flatten()
        step = len(rest) // contextual
        is_target = torch.zeros_like(rest, dtype=torch.bool)
        is_target[: contextual * step : step] = True
        targets, others = rest[is_target], rest[~is_target]
        directions = F.normalize(wide(keys), dim=-1)
        owner = (directions[others] @ directions[targets].T).float().argmax(-1)
        merged = tokens[targets] + means(tokens[others], owner, contextual)[0]
        kept = torch.cat([dominant, targets])
        into = into_itself(kept, len(tokens))
        into[others] = targets[owner]
        return Selection.in_reading_order(kept, torch.cat([tokens[dominant], merged]), into)
