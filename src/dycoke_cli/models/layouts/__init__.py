"""Families and their layouts; the table says which there are."""

from __future__ import annotations

from typing import Any

from dycoke_cli.errors import UsageError
from dycoke_cli.models.layouts.families import FAMILIES
from dycoke_cli.models.layouts.family import Family
from dycoke_cli.models.layouts.layout import Layout


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
