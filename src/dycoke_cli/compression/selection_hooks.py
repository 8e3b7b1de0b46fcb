"""What a few methods do with a selection that they have made: a mixin beside `Method`.

Most methods have none of it: the defaults here are theirs, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.compression.selection import Selection, SelectionInputs

if TYPE_CHECKING:
    import torch


class SelectionHooks:
    """Functions that the engine and reports call on a selection, or about it."""

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        """The selection that `choose` made, with dropped tokens merged where that is asked for."""
        return selection

    def adds_bias(self) -> bool:
        """Whether `attention_bias` may add anything, whatever the selection is."""
        return False

    def attention_bias(self, selection: Selection) -> torch.Tensor | None:
        """What is added to the attention logits of each token kept, in every layer.

        Args:
            selection: of `finish`.

        Returns:
            `[M]`, float64, on the CPU; None where nothing is.
        """
        return None

    def merging(self) -> str | None:
        """The name of the selection in reports; None where it has none, or keeps all."""
        return None


NO_HOOKS = SelectionHooks()


def hooks_of(method: object) -> SelectionHooks:
    """The functions of a method that has them, or the defaults."""
    return method if isinstance(method, SelectionHooks) else NO_HOOKS
