"""ToMe: similar tokens are merged, half of them at most in each round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.method import Selection, SelectionInputs
from dycoke_cli.compression.similar import ROWS, all_but, means, wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

PROPORTIONAL = Param(
    "Proportional attention: add log n to the attention logits of a merged token that represents n "
    "tokens, in every layer, so that it weighs as much as n equal tokens. Not with FlashAttention.",
    before=False,
)


@dataclass(frozen=True)
class ToMe(Budgeted):
    """Token Merging (arXiv 2210.09461, ICLR 2023), section 3, on what the language model reads.

    Bipartite soft matching: the tokens of the video, in reading order, go in turn to the sets A and
    B. Each token of A is linked to the most similar one of B (cosine). The most similar links are
    merged: as many as the budget asks for, and half of the tokens at most. Rounds of this follow
    until the budget is reached. A merged token is the mean of all tokens that it stands for, at the
    place of the token of B. Ties go to the lower index. `proportional` adds the paper's attention.

    Differs from the authors' code in where it acts: theirs is for image encoders, removes a number
    of tokens in each layer of the encoder, and compares keys in the mean over heads. Here it
    compares the tokens that the language model reads, as in the baseline of the video paper STTM
    (arXiv 2507.07990; `tome_per_video` in its code), which also has rounds of at most half, and
    rounds its count up. Both put the merged tokens behind the others after each round, which
    changes the sets of the next one; here they stay in reading order.
    """

    name: ClassVar[str] = "tome"
    title: ClassVar[str] = "ToMe"
    summary: ClassVar[str] = "similar tokens merged, in rounds of pairs"
    paper: ClassVar[str | None] = "arXiv 2210.09461, ICLR 2023"

    proportional: Annotated[bool, PROPORTIONAL] = False

    def weighs_merged(self) -> bool:
        """As asked for."""
        return self.proportional

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens that are left of the whole video, with the others merged into them."""
        every = wide(inputs.features.flatten(0, 1))
        count = self.kept_tokens(*inputs.features.shape[:2])
        tokens, kept = every, torch.arange(len(every), device=every.device)
        group = kept  # of each token of the video, the one of `tokens` that it is part of
        while len(tokens) > count:
            goes, to = most_similar_pairs(tokens, len(tokens) - count)
            owner = torch.arange(len(tokens), device=every.device)
            owner[goes] = to
            stays = all_but(goes, len(owner))
            group = (stays.cumsum(0) - 1)[owner[group]]
            kept = kept[stays]
            tokens, _ = means(every, group, len(kept))
        return Selection(kept, tokens, kept[group])


def most_similar_pairs(tokens: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The links of bipartite soft matching that are merged, the most similar first.

    Args:
        tokens: `[n, D]`, float, in reading order.
        most: how many links at most; half of the tokens, rounded down, are a limit, too.

    Returns:
        `[r]`, int64: the tokens of A that go (even); and the token of B into which each goes (odd).
    """
    directions = F.normalize(wide(tokens), dim=-1)
    others = directions[1::2].T
    best = [(some @ others).float().max(-1) for some in directions[::2].split(ROWS)]
    similarity = torch.cat([values for values, _ in best])
    nearest = torch.cat([at for _, at in best])
    order = similarity.argsort(descending=True, stable=True)[: min(most, len(tokens) // 2)]
    return 2 * order, 2 * nearest[order] + 1
