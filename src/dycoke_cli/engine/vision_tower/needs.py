"""Refuses a method that needs what a model's vision tower doesn't provide."""

from __future__ import annotations

from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Family, family_of


def check_family(name: str, family: Family, method: Method) -> None:
    """Check that the vision towers of a family give what a method needs of them.

    Args:
        name: of the family.
        family: its layout.
        method: that is about to be used with it.

    Raises:
        UsageError: they don't, or can't encode part of a frame.
    """
    if method.before_vision() is not None and not family.encodes_parts:
        raise UsageError(
            f"--merge-stage vision isn't supported for the family {name!r} yet; leave it out, or "
            "use llm"
        )
    if method.shrink() is not None and not family.has_pictures:
        raise UsageError(
            f"the method {method.name} scales pictures, and the processor of the family {name!r} "
            "cuts them into patches; --method uniform-spatial works"
        )
    if "attention" in method.needs and family.tower is None:
        raise UsageError(
            f"the method {method.name} needs the vision encoder's attention to each visual token, "
            f"which the family {name!r} doesn't give; --method dycoke works"
        )


def check_tower(config: Any, method: Method) -> None:
    """Check that a model's vision tower gives what a method needs of it.

    Args:
        config: of the model.
        method: that is about to be used with it.

    Raises:
        UsageError: as of `check_family`; or it hasn't got a layer that the method names.
    """
    family = family_of(config)
    check_family(config.model_type, family, method)
    merging = method.merge_frames()
    if merging is not None:
        assert family.tower is not None, "frames are merged where the tower gives its attention"
        merging.layers(family.tower.depth(config))
