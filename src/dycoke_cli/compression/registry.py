"""Every method by the name it has on the command line, and what they have in common."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods.cdpruner import CDPruner
from dycoke_cli.compression.methods.dart import DART
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.methods.earlytom import EarlyTom
from dycoke_cli.compression.methods.evs import EVS
from dycoke_cli.compression.methods.fastv import FastV
from dycoke_cli.compression.methods.fastvid import FastVID
from dycoke_cli.compression.methods.flashvid import FlashVID
from dycoke_cli.compression.methods.holitom import HoliTom
from dycoke_cli.compression.methods.prumerge import PruMerge, PruMergePlus
from dycoke_cli.compression.methods.random_merge import RandomMerge
from dycoke_cli.compression.methods.uniform_frames import UniformFrames
from dycoke_cli.compression.methods.uniform_spatial import UniformSpatial
from dycoke_cli.compression.methods.v_cast import VCast
from dycoke_cli.compression.methods.vidcom2 import VidCom2
from dycoke_cli.compression.methods.visionzip import VisionZip
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Parameter, parameters_of

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        Method,
        DyCoke,
        DyCokePlus,
        FastV,
        RandomMerge,
        UniformFrames,
        UniformSpatial,
        EVS,
        VidCom2,
        VCast,
        DART,
        PruMerge,
        PruMergePlus,
        VisionZip,
        HoliTom,
        FlashVID,
        FastVID,
        CDPruner,
        EarlyTom,
    )
}

DEFAULT = DyCoke.name


def find(name: str) -> type[Method]:
    """A method by its name, with hyphens or underscores.

    Raises:
        UsageError: no such method.
    """
    hyphenated = name.replace("_", "-")
    if hyphenated not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"there is no method {name!r} (there are {', '.join(METHODS)}){hint}")
    return METHODS[hyphenated]


def create(name: str, **parameters: Any) -> Method:
    """Make a method from its name and parameters.

    Raises:
        UsageError: no such method, a parameter that it doesn't have, or one out of range.
    """
    method = find(name)
    unknown = [parameter for parameter in parameters if parameter not in parameters_of(method)]
    if unknown:
        others = owners().get(unknown[0])
        hint = (
            f" ({', '.join(others)} {'has' if len(others) == 1 else 'have'} it)" if others else ""
        )
        raise UsageError(f"method {name} has no parameter {unknown[0]}{hint}")
    return method(**parameters)


def restore(answer: Mapping[str, Any]) -> Method:
    """The method that an answer names (`method` of a `dycoke.answer/1` object).

    Raises:
        UsageError: see `create`.
    """
    known = parameters_of(find(answer["name"]))
    return create(answer["name"], **{name: answer[name] for name in known if name in answer})


def owners() -> dict[str, dict[str, Parameter]]:
    """For each name of a parameter, the methods that have one and what it is there."""
    found: dict[str, dict[str, Parameter]] = {}
    for method in METHODS.values():
        for name, parameter in parameters_of(method).items():
            found.setdefault(name, {})[method.name] = parameter
    return found


def method_schema() -> dict[str, Any]:
    """The JSON Schema of `method` in an answer: a name, and every parameter of that method."""
    return {
        "description": "Its name and every parameter.",
        "type": "object",
        "properties": {"name": {"enum": list(METHODS)}},
        "required": ["name"],
        "oneOf": [
            {
                "properties": {
                    "name": {"const": name},
                    **{key: p.schema() for key, p in parameters_of(method).items()},
                },
                "required": ["name", *parameters_of(method)],
                "additionalProperties": False,
            }
            for name, method in METHODS.items()
        ],
    }
