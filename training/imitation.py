"""What a vision tower learns first when frames get larger: to give the tokens that it gave before.

A thing covers more patches than the tower has learned. Were it only told what probes read, it would
find tokens that probes read and the language model doesn't.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.architectures import BUNDLED
from training.batches import Batch
from training.checkpoints import Weights, side_of

# What the auxiliary loss is called among the kinds of questions.
IMITATING = "imitating"


class Imitated:
    """A model for smaller frames, whose visual tokens are imitated.

    Args:
        weights: of the whole model.
        device: where it runs.
    """

    def __init__(self, weights: Weights, device: torch.device) -> None:
        self.weights, self._side = weights, side_of(weights)
        model = BUNDLED.model(BUNDLED.tokenizer(self._side), self._side)
        model.load_state_dict(weights)
        BUNDLED.speed_up(model)
        self._model = nn.Module.to(model, device).eval().requires_grad_(False)

    def loss(self, tokens: Tensor, batch: Batch) -> tuple[str, Tensor, float | None]:
        """How far tokens [B * F * N, D] are from its own ones of the same frames.

        Each of its tokens stands for all those of the finer grid that lie where it lies.

        Returns:
            IMITATING; the mean square of what is off, as a share of the variance of its tokens;
            and the share of that variance that isn't off, at least 0.
        """
        frames = nn.functional.interpolate(
            batch.pixels.flatten(0, 1), (self._side, self._side), mode="area"
        )
        with torch.no_grad():
            theirs = self._model.model.get_video_features(frames[:, None]).pooler_output[:, :-1]
            before, after = (round(n**0.5) for n in (theirs.shape[1], batch.seen.shape[2]))
            grid = theirs.float().mT.unflatten(2, (before, before))
            finer = nn.functional.interpolate(grid, (after, after), mode="nearest")
            wanted = finer.flatten(2).mT.flatten(0, 1)
        off = (tokens.float() - wanted).square().mean() / wanted.var()
        return IMITATING, off, max(0.0, 1 - float(off.detach()))
