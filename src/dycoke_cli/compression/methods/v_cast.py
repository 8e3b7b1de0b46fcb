"""V-CAST: more tokens where motion changes, and the outliers of each frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.method import top
from dycoke_cli.compression.similar import cosine_similarity, wide
from dycoke_cli.lazy_torch import F, torch

TEMPERATURE = 0.7
"""Of the softmax that shares the budget out among frames."""

EPS = 1e-6
"""The least norm that a vector is divided by."""


@dataclass(frozen=True)
class VCast(MergingEarly):
    """V-CAST (arXiv 2603.27650), as its authors' code has it (xinyouu/V-CAST, for Qwen3-VL).

    g_t is the L2-normalised mean token of frame t, and its curvature 1 - the cosine between
    g_t - g_{t-1} and g_{t+1} - g_t; 1 for the first and the last frame, and where nothing moves.
    Every frame keeps a token, and of the other tokens of the budget `floor(w_t * rest)`, where w is
    a softmax over frames of the curvature, N at most. What the floors leave goes to one frame, that
    with the largest fraction, until it is full, then to the next (a quirk: it isn't one token to
    each). In a frame the tokens stay that have the highest (1 - cosine to g_t) + L2 norm, the norms
    scaled to [0, 1] within the frame. Ties go to the lower index.

    Differs from that code: the budget is `int(F * N * R)`, not rounded, but likewise no less than
    one token per frame; a single frame is compressed, too; scores are computed in float64, not in
    the model's dtype. There, kept tokens keep their positions.
    """

    name: ClassVar[str] = "v-cast"
    title: ClassVar[str] = "V-CAST"
    summary: ClassVar[str] = "outliers; more of them where motion changes"
    paper: ClassVar[str | None] = "arXiv 2603.27650"

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        per_frame = features.shape[1]
        means = torch.stack([F.normalize(wide(f).mean(0), dim=-1, eps=EPS) for f in features])
        kept = []
        for frame, count in enumerate(self._counts(means, per_frame)):
            tokens = features[frame]
            # Rounded first, so that equal tokens tie: the differences are of nearly equal numbers.
            similarity = wide(cosine_similarity(tokens, means[frame], eps=EPS))
            norms = wide(wide(tokens).norm(dim=-1).float())
            norms = (norms - norms.min()) / (norms.max() - norms.min() + EPS)
            scores = (1 - similarity + norms).float()
            kept.append(frame * per_frame + top(scores, count))
        return torch.cat(kept)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, and no less than one token per frame."""
        return max(frames, super().kept_tokens(frames, per_frame))

    def _counts(self, means: torch.Tensor, per_frame: int) -> list[int]:
        """How many tokens each frame keeps, by the mean tokens `[F, D]`."""
        frames = len(means)
        curvature = torch.ones_like(means[:, 0])
        steps = means.diff(dim=0)
        curvature[1:-1] -= F.cosine_similarity(steps[:-1], steps[1:], dim=-1, eps=EPS)
        rest = self.kept_tokens(frames, per_frame) - frames
        # In float32, so that equal frames don't miss a whole number by a rounding error.
        wanted = ((curvature / TEMPERATURE).softmax(0) * rest).float()
        counts = [1 + min(int(share), per_frame - 1) for share in wanted.tolist()]
        left = rest + frames - sum(counts)
        for frame in (wanted - wanted.floor()).argsort(descending=True, stable=True).tolist():
            more = min(left, per_frame - counts[frame])
            counts[frame] += more
            left -= more
        return counts
