"""Linear layers that read facts off tokens; thrown away after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dycoke_cli.models.mini.training.architecture import TEXT_WIDTH

# Most tokens of a frame show nothing: they would drown what the others have to tell.
NOTHING_WEIGHT = 0.2


class Reader(nn.Module):
    """Reads several facts off tokens, each one of a few classes.

    Args:
        sizes: classes of each fact.
        judged: the facts that must all be right for a token to count as right.
    """

    def __init__(self, sizes: tuple[int, ...], judged: slice = slice(None)) -> None:
        super().__init__()
        self.sizes, self.judged = list(sizes), judged
        self.read = nn.Linear(TEXT_WIDTH, sum(sizes))

    def loss(self, tokens: Tensor, facts: Tensor) -> tuple[Tensor, float | None]:
        """Loss of tokens [N, width] against facts [N, facts], and the share told right.

        The share is over the tokens whose first judged fact isn't 0: where there is something; None
        where there is nothing anywhere.
        """
        parts = torch.split(self.read(tokens), self.sizes, dim=-1)
        losses = [
            nn.functional.cross_entropy(part.float(), facts[:, i], _weights(part))
            for i, part in enumerate(parts)
        ]
        right = torch.stack([p.argmax(-1) == facts[:, i] for i, p in enumerate(parts)])
        something = facts[:, self.judged][:, 0] != 0
        if not bool(something.any()):
            return torch.stack(losses).sum(), None
        share = right[self.judged].all(0)[something].float().mean()
        return torch.stack(losses).sum(), float(share)


def _weights(scores: Tensor) -> Tensor:
    weights = torch.ones(scores.shape[-1], device=scores.device)
    weights[0] = NOTHING_WEIGHT
    return weights
