"""Merging inside the language model, behind a selection before it: HoliTom's M, EarlyTom's, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from dycoke_cli.compression.base import Inside, top
from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.similarity import wide
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class MergingInside(Budgeted):
    """What methods have in common that merge visual tokens inside the language model, if asked to.

    While the prompt is read, the attention of its last token in layer L-1, averaged over heads,
    ranks the visual tokens. The best `round(V * r)` of the V that the language model reads stay, 1
    at least; each other one is merged into the one of them whose hidden state going into layer L
    is most similar (cosine, before anything is merged): one after the other, in sequence order,
    the state of the one that stays becomes the mean of itself and of the one that goes. Ties go to
    the lower index. Tokens keep their positions.
    """

    title: ClassVar[str] = "Merging inside the language model"

    inner_layer: Annotated[
        int | None,
        Param(
            "First layer of the language model that reads fewer visual tokens, into which the "
            "others are merged; the layer before it scores them.",
            symbol="L",
            layer=True,
            default="none: all layers read the same tokens",
            nullable=True,
        ),
    ] = None
    inner_retain: Annotated[
        float,
        Param(
            "Fraction of the visual tokens at prefill that it reads.",
            symbol="r",
            metavar="X",
            above=0,
            to=1,
            switch="inner_layer",
        ),
    ] = 0.5

    def inside(self) -> Inside | None:
        """The layer, the choice that is made before it, and the merging; None without a layer."""
        if self.inner_layer is None:
            return None
        return Inside(self.inner_layer, self._keep, merged_into_similar)

    def attended_tokens(self, kept: int) -> int:
        """What is left from that layer on."""
        return kept if self.inner_layer is None else max(1, round(kept * self.inner_retain))

    def _keep(self, attention: torch.Tensor) -> torch.Tensor:
        return top(attention, self.attended_tokens(len(attention)))


def merged_into_similar(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The hidden states of kept tokens, with those of all others merged into them.

    Args:
        hidden: `[V, D]`, float: of all visual tokens.
        kept: `[A]`, int64, ascending, at least one: those that stay.

    Returns:
        `[A, D]`, in the widest dtype.
    """
    import torch
    import torch.nn.functional as F

    states = wide(hidden)
    goes = torch.ones(len(states), dtype=torch.bool, device=states.device)
    goes[kept] = False
    directions = F.normalize(states, dim=-1)
    alike = (directions[goes] @ directions[kept].T).float()
    member = alike.argmax(-1) == torch.arange(len(kept), device=states.device)[:, None]
    # A token is halved by each that is merged behind it into the same one: Σ 2^-n of those.
    behind = member.flip(1).cumsum(1).flip(1)
    weights = torch.where(member, 0.5 ** behind.to(states), 0)
    own = 0.5 ** member.sum(1).to(states)
    return own[:, None] * states[kept] + weights @ states[goes]
