"""From flags to what they choose: the method, the frames to read, how to answer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.resolve import ChosenModel
    from dycoke_cli.video import Sampling

LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class MethodChoice:
    """A method and the parameters that were given for it; the rest keep their defaults."""

    name: str
    given: dict[str, Any]

    def for_model(self, model: ChosenModel | LoadedModel) -> Method:
        """The method for a model: what wasn't given is what suits the model.

        Raises:
            UsageError: the model hasn't got that layer.
        """
        layer = self.given.get("prune_layer")
        if layer is not None and not 1 <= layer < model.layers:
            raise UsageError(
                f"--prune-layer must be from 1 to {model.layers - 1} "
                f"for {model.name}, which has {model.layers} layers, not {layer}"
            )
        return self.create().suited(model.method_defaults)

    def create(self) -> Method:
        """The method itself; what wasn't given and depends on the model is still open.

        Raises:
            UsageError: see `method_choice`.
        """
        from dycoke_cli.compression.registry import METHODS, create

        if self.name in METHODS:
            known = METHODS[self.name]().parameters()
            unknown = [name for name in self.given if name not in known]
            if unknown:
                raise UsageError(f"--method {self.name} has no {_flag(unknown[0])}")
        try:
            return create(self.name, **self.given)
        except UsageError as error:
            raise UsageError(_with_flags(str(error), self.given)) from error


def method_choice(name: str, flags: dict[str, Any]) -> MethodChoice:
    """What the method flags choose; `flags` has None for each that wasn't used.

    Raises:
        UsageError: a parameter that the method doesn't have, out of range, or in contradiction.
    """
    given = {parameter: value for parameter, value in flags.items() if value is not None}
    if "prune_from" in given:
        given["prune_from"] = _tokens(given["prune_from"])
    if given.get("dp_cache") == "discard":
        if given.get("recall"):
            raise UsageError("--dp-cache discard leaves nothing to recall; drop --recall")
        given["recall"] = False
    choice = MethodChoice(name, given)
    choice.create()
    return choice


def _tokens(given: str) -> int:
    from dycoke_cli.compression.dycoke import PAYS_FROM

    if given == "auto":
        return PAYS_FROM
    if not given.isdecimal():
        raise UsageError(f"--prune-from must be auto or a number of tokens, not {given!r}")
    return int(given)


def uncompressed() -> Method:
    """The method that `--compare` compares with."""
    from dycoke_cli.compression.registry import create

    return create("none")


@dataclass(frozen=True)
class AnswerChoice:
    """How to answer.

    Raises:
        UsageError: a value out of range.
    """

    max_new_tokens: int
    temperature: float
    seed: int | None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UsageError(f"--max-new-tokens must be 1 or more, not {self.max_new_tokens}")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature must be 0 or more, not {self.temperature:g}")
        if self.seed is not None and not 0 <= self.seed <= LARGEST_SEED:
            raise UsageError(f"--seed must be from 0 to {LARGEST_SEED}, not {self.seed}")


def sampling(
    *,
    frames: int | None,
    fps: float | None,
    max_frames: int | None,
    start: str | None,
    end: str | None,
    stream: int | None,
) -> Sampling:
    """Which frames to read.

    Raises:
        UsageError: a value out of range, or two that contradict each other.
    """
    from dycoke_cli.video import Sampling, parse_time

    if frames is not None and fps is not None:
        raise UsageError("--frames and --fps exclude each other; use one of them")
    counted = {} if frames is None else {"frames": frames}
    return Sampling(
        **counted,
        fps=fps,
        max_frames=max_frames,
        start_s=None if start is None else parse_time(start),
        end_s=None if end is None else parse_time(end),
        stream=stream,
    )


def _flag(parameter: str) -> str:
    return "--" + parameter.replace("_", "-")


def _with_flags(message: str, parameters: dict[str, Any]) -> str:
    """Begin with `--merge-ratio` where a method's own sentence begins with `merge_ratio`."""
    name, _, rest = message.partition(" ")
    return f"{_flag(name)} {rest}" if name in parameters else message
