"""One file a family; this table says which families there are."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from dycoke_cli.errors import UsageError
from dycoke_cli.models.layouts import llava_onevision
from dycoke_cli.models.layouts.layout import Layout


class Family(Protocol):
    """What a family's file has."""

    def placeholder(self, config: Any) -> int:
        """The token id that stands for a visual token in a prompt."""

    def tokens_per_frame(self, config: Any) -> int:
        """Visual tokens a frame."""

    def layout(self, config: Any, input_ids: torch.Tensor) -> Layout | None:
        """Where the visual tokens of `input_ids[S]` stand, or None where there is no video."""

    def frames(self, inputs: dict[str, torch.Tensor]) -> int:
        """How many frames the processor made of one video."""

    def chunk(
        self, config: Any, inputs: dict[str, torch.Tensor], start: int, stop: int
    ) -> tuple[dict[str, torch.Tensor], slice]:
        """The inputs that encode frames `start` … `stop` alone, and which rows are theirs."""


FAMILIES: dict[str, Family] = {"llava_onevision": llava_onevision}
"""By `model_type` of the configuration."""


def family_of(config: Any) -> Family:
    """The family of a model's configuration.

    Raises:
        UsageError: a family without a layout.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UsageError(
            f"models of the family {config.model_type!r} have no layout yet "
            f"(there is one for {', '.join(FAMILIES)})"
        )
    return family


__all__ = ["FAMILIES", "Family", "Layout", "family_of"]
