"""A second selection inside the language model, of methods that select before it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.method import LayerPruning, Selection, top
from dycoke_cli.compression.similar import all_but, wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

INNER_RETAIN = Param(
    "Fraction of the visual tokens at prefill that layers from inner_layer on get.",
    symbol="r",
    metavar="X",
    above=0,
    to=1,
    switch="inner_layer",
)


@dataclass(frozen=True)
class SelectingInside(Budgeted):
    """Methods that can select once more inside the language model.

    During prefill, the attention of its last token in layer L-1, averaged over heads,
    ranks the visual tokens that the language model reads; layers from L on read the best of them
    alone. Ties go to the lower index. Tokens keep their positions.
    """

    title: ClassVar[str] = "Selection inside the language model"

    inner_layer: Annotated[
        int | None,
        Param(
            "First layer of the language model that gets fewer visual tokens; the layer before it "
            "scores them.",
            symbol="L",
            layer=True,
            default="none: all layers get the same tokens",
            nullable=True,
        ),
    ] = None
    inner_retain: Annotated[float, INNER_RETAIN] = 0.5

    def inside(self) -> LayerPruning | None:
        """The layer, and the choice that is made before it; None without a layer."""
        return None if self.inner_layer is None else LayerPruning(self.inner_layer, self._keep)

    def attended_tokens(self, kept: int) -> int:
        """What is left from that layer on."""
        return kept if self.inner_layer is None else self.inner_tokens(kept)

    def inner_tokens(self, kept: int) -> int:
        """How many of the tokens at prefill stay: the nearest whole number, 1 at least."""
        return max(1, round(kept * self.inner_retain))

    def _keep(self, attention: torch.Tensor) -> torch.Tensor:
        return top(attention, self.inner_tokens(len(attention)))


@dataclass(frozen=True)
class MergingInside(SelectingInside):
    """Methods that merge the tokens they drop there.

    Each other token is merged into the one of those that stay whose hidden state going into layer L
    is most similar (cosine, before anything is merged): one after the other, in sequence order,
    the state of the one that stays becomes the mean of itself and of the one that goes.
    """

    def inside(self) -> LayerPruning | None:
        """The layer, the choice that is made before it, and the merging; None without a layer."""
        inside = super().inside()
        return None if inside is None else replace(inside, merge=_merge)


def _merge(hidden: torch.Tensor, attention: torch.Tensor, kept: torch.Tensor) -> Selection:
    return Selection(kept, merged_into_similar(hidden, kept))


def merged_into_similar(hidden: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The hidden states of kept tokens, with those of all others merged into them.

    Args:
        hidden: `[V, D]`, float: of all visual tokens.
        kept: `[A]`, int64, ascending, at least one: those that stay.

    Returns:
        `[A, D]`, in the widest dtype.
    """
    states = wide(hidden)
    goes = all_but(kept, len(states))
    directions = F.normalize(states, dim=-1)
    alike = (directions[goes] @ directions[kept].T).float()
    member = alike.argmax(-1) == torch.arange(len(kept), device=states.device)[:, None]
    # A token is halved by each that is merged behind it into the same one: Σ 2^-n of those.
    behind = member.flip(1).cumsum(1).flip(1)
    weights = torch.where(member, 0.5 ** behind.to(states), 0)
    own_weight = 0.5 ** member.sum(1).to(states)
    return own_weight[:, None] * states[kept] + weights @ states[goes]
