"""SparseVLM: words of the question rate the visual tokens, and some that are dropped come back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from dycoke_cli.compression.method import (
    PUBLISHED_DEPTH,
    LayerPruning,
    Method,
    Selection,
    settled_value,
    top,
)
from dycoke_cli.compression.similar import all_but, clustered, means, wide
from dycoke_cli.errors import UsageError
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

FIRST_LAYERS = (3, 7, 16)
"""First layers with fewer tokens, of 32: selections are made behind layers 2, 6 and 15."""

OF_THOSE_LEFT = (200 / 300, 110 / 200)
"""What the second and the third selection keep of the tokens left: 300, 200, 110 of 576."""

RECYCLED = 0.3
"""Of the tokens that a selection drops, the best rated that are merged (section 3.4)."""

PER_CLUSTER = 10
"""About how many of these become one token."""


def _first_layer(number: int) -> Param:
    return Param(
        f"First layer behind selection {number + 1}; the layer before it scores.",
        layer=True,
        of_depth=FIRST_LAYERS[number] / PUBLISHED_DEPTH,
        default=f"{FIRST_LAYERS[number]} of {PUBLISHED_DEPTH} layers",
    )


@dataclass(frozen=True)
class SparseVLM(Method):
    """SparseVLM (arXiv 2410.04417, ICML 2025), section 3: rated by words, and recycled.

    Raters are the tokens of the text behind the video whose similarity to the visual tokens is
    above the mean of that text: of each visual token's products with the text, at the input of the
    language model, the softmax; in the mean over visual tokens. Behind three layers the attention
    of the raters, averaged over heads and raters, ranks the visual tokens that are left; the best
    stay. Of the others the best 30 % form clusters around density peaks (`clusters.density_peaks`,
    with as many neighbors as clusters), one of about ten tokens; the mean of each stays as one
    token, in the place of its center. Tokens keep their positions. Ties go to the lower index.

    Differs from the authors' code (commit 26a5f48), which is written for 576 tokens of one picture:
    their tables of counts become shares here. The second selection keeps two thirds of the tokens
    left and the third 55 %, as in the first table (300, 200 and 110), and the first as many as
    leave the fraction R in the mean over 32 layers, of which the first three have all; recycled
    tokens aren't counted. Recycled tokens stand behind all others there, and positions become
    contiguous. Where no text stands out, the last token rates; there the result isn't a number.
    """

    name: ClassVar[str] = "sparsevlm"
    title: ClassVar[str] = "SparseVLM"
    summary: ClassVar[str] = "drops tokens by words, merges some dropped"
    paper: ClassVar[str | None] = "arXiv 2410.04417, ICML 2025"

    mean_retain: Annotated[
        float,
        Param(
            "Fraction of the visual tokens that layers have in the mean, about; not counted are "
            "merged ones.",
            symbol="R",
            above=FIRST_LAYERS[0] / PUBLISHED_DEPTH,
            to=0.5,
            budget=True,
        ),
    ] = 0.35
    first_layer: Annotated[int | None, _first_layer(0)] = None
    second_layer: Annotated[int | None, _first_layer(1)] = None
    third_layer: Annotated[int | None, _first_layer(2)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [one for one in self._layers() if one is not None]
        if given != sorted(given):
            raise UsageError(
                "first_layer, second_layer and third_layer must not descend, not "
                + ", ".join(map(str, given))
            )

    def _layers(self) -> tuple[int | None, int | None, int | None]:
        return self.first_layer, self.second_layer, self.third_layer

    def inside(self) -> tuple[LayerPruning, ...]:
        """The three layers, and the selections before them."""
        return tuple(
            LayerPruning(
                settled_value(layer),
                partial(self._keep, number),
                merge=recycled,
                left=partial(self._left, number),
                queries=raters,
            )
            for number, layer in enumerate(self._layers())
        )

    def attended_tokens(self, kept: int) -> int:
        """What is left behind the third selection."""
        for number in range(len(FIRST_LAYERS)):
            kept = self._left(number, kept)
        return kept

    def _shares(self) -> tuple[float, ...]:
        """What each selection keeps of the tokens left, recycled ones apart."""
        second, third = OF_THOSE_LEFT
        with_all, until_second, until_third = FIRST_LAYERS
        behind = PUBLISHED_DEPTH - until_third
        per_token = until_second - with_all + (until_third - until_second) * second
        per_token += behind * second * third
        return (self.mean_retain * PUBLISHED_DEPTH - with_all) / per_token, second, third

    def _keep(self, number: int, attention: torch.Tensor) -> torch.Tensor:
        return top(attention, self._count(number, len(attention)))

    def _count(self, number: int, tokens: int) -> int:
        return max(1, int(tokens * self._shares()[number]))

    def _left(self, number: int, tokens: int) -> int:
        kept = self._count(number, tokens)
        return kept + clusters_of(tokens - kept)[1]


def clusters_of(dropped: int) -> tuple[int, int]:
    """How many of so many dropped tokens are recycled, and in how many clusters."""
    if not dropped:
        return 0, 0
    pool = min(dropped, int(dropped * RECYCLED) + 1)
    return pool, pool // PER_CLUSTER + 1


def raters(visual: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """The tokens of the text that stand out by their similarity to the visual ones (section 3.2).

    Args:
        visual: `[V, D]`, float: embeddings.
        text: `[T, D]`, float: of the text behind the video, T at least 1.

    Returns:
        `[Q]`, int64, ascending: those above the mean, or the last one where none is.
    """
    found = (wide(visual) @ wide(text).T).softmax(-1).mean(0)
    above = (found > found.mean()).nonzero().flatten()
    return above if len(above) else torch.tensor([len(text) - 1], device=above.device)


def recycled(hidden: torch.Tensor, attention: torch.Tensor, kept: torch.Tensor) -> Selection:
    """The tokens kept, and the clusters that the best rated of the others form (section 3.4).

    Args:
        hidden: `[V, D]`, float: hidden states of all visual tokens that are left.
        attention: `[V]`, float: of the raters to each.
        kept: `[A]`, int64, ascending.

    Returns:
        A selection in reading order, each cluster in the place of its center.
    """
    goes = all_but(kept, len(attention))
    others = goes.nonzero().flatten()
    pool, count = clusters_of(len(others))
    if not count:
        return Selection(kept)
    best = others[top(attention[others], pool)]
    centers, owner = clustered(hidden[best], count, count)
    merged, _ = means(hidden[best], owner, count)
    return Selection.in_reading_order(
        torch.cat([kept, best[centers]]), torch.cat([wide(hidden[kept]), merged])
    )
