"""Settles a method for a model: its defaults filled in, all that the model can't serve refused.

What that takes (`ModelInfo`) is known of a stored configuration, of a model that was resolved, of
one that is loaded and of a bare stock model. So a method is settled as early as that.
"""

from __future__ import annotations

from dycoke_cli.compression.method import Method, with_model_defaults
from dycoke_cli.errors import UsageError, check_kind
from dycoke_cli.models.families import ModelInfo


def settled(method: Method, model: ModelInfo) -> Method:
    """A method settled for a model; one that is stays as it is.

    Args:
        method: as it was given; parameters that are None take the model's defaults.
    """
    check_kind(method, Method, "a method is an object such as DyCoke() or EVS(retain=0.25)")
    if model.listed:
        _check_vision_tower(method, model)
    return with_model_defaults(method, model.defaults, model.layers, model.name)


def _check_vision_tower(method: Method, model: ModelInfo) -> None:
    family, name = model.family, model.model_type
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
    merging = method.merge_frames()
    # Frames are merged where the tower's attention is, too.
    if ("attention" in method.needs or merging is not None) and family.tower is None:
        raise UsageError(
            f"the method {method.name} needs the vision encoder's attention to each visual token, "
            f"which the family {name!r} doesn't give; --method dycoke works"
        )
