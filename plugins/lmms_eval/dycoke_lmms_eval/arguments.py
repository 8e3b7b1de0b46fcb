"""`--model_args` of lmms-eval: the flags of this program by their names; doesn't import torch.

    model=llava-onevision-7b,method=dycoke,merge_ratio=0.5,frames=64,dtype=bfloat16

What parses the flags parses these as well, and the method is a row of `dycoke eval --methods`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from dycoke_cli.compression.pool import TokenBudget
from dycoke_cli.compression.registry import DEFAULT, Spec, owners, parse_specs
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.models.load_options import BUNDLED, LoadOptions, default_model
from dycoke_cli.param import Parameter, parameters_of
from dycoke_cli.video.sampling import Sampling

T = TypeVar("T")

# A task says itself which part of a video it asks about.
_OF_THE_TASK = ("start_s", "end_s")
_GROUPS = (LoadOptions, Sampling, TokenBudget, GenerationOptions)
_SHARED: dict[str, Parameter] = {
    name: parameter
    for group in _GROUPS
    for name, parameter in parameters_of(group).items()
    if name not in _OF_THE_TASK
}
NAMES = ("model", "method", *_SHARED, *owners())
"""Every argument."""

_FLAG = re.compile(r"--(no-)?([a-z]+(?:-[a-z]+)*)")


@dataclass(frozen=True)
class Arguments:
    """How questions are asked."""

    model: str  # what `--model` of this program takes
    loading: LoadOptions  # how it is loaded
    sampling: Sampling  # which frames are read, where the method doesn't say otherwise
    generation: GenerationOptions  # how answers are generated, where the task doesn't say
    spec: Spec  # the method, before the model is known
    budget: TokenBudget  # of a video's tokens, which is read in windows then


def split(text: str) -> dict[str, str]:
    """The arguments as they were written.

    lmms-eval makes numbers of values that look like some before a model sees them: a folder that is
    called 0012 would be another one.
    """
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--model_args: write an argument as name=value, not {part!r}")
        if name in found:
            raise UsageError(f"--model_args has {name} twice")
        found[name] = value
    return found


def parse(given: Mapping[str, Any]) -> Arguments:
    """What arguments mean."""
    unknown = next((name for name in given if name not in NAMES), None)
    if unknown is not None:
        near = ["model"] if unknown == "pretrained" else difflib.get_close_matches(unknown, NAMES)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"--model_args: there is no {unknown!r} (there are {', '.join(NAMES)}){hint}"
        )
    if "frames" in given and "fps" in given:
        raise UsageError("--model_args: frames and fps exclude each other; use one of them")
    with speaking_of_arguments():
        return Arguments(
            given.get("model") or default_model() or BUNDLED,
            _group(LoadOptions, given),
            _group(Sampling, given),
            _group(GenerationOptions, given),
            _spec(given),
            _group(TokenBudget, given),
        )


def _group(kind: type[T], given: Mapping[str, Any]) -> T:
    """A dataclass of options with those of its fields that were given."""
    return kind(
        **{name: _value(name, given[name]) for name in parameters_of(kind) if name in given}
    )


def _value(name: str, given: Any) -> Any:
    return _SHARED[name].parse(given) if isinstance(given, str) else given


def _spec(given: Mapping[str, Any]) -> Spec:
    method = str(given.get("method", DEFAULT))
    written = [f"{name}={_text(given[name])}" for name in owners() if name in given]
    specs = parse_specs(":".join([method, *written]))
    if len(specs) > 1:
        raise UsageError(f"method names one method, not {method!r}")
    return specs[0]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_arguments(sentence: str) -> str:
    """A sentence that speaks of flags, in terms of arguments: `--merge-ratio` is `merge_ratio`."""
    return _FLAG.sub(_as_argument, sentence.replace("--methods", "method"))


def _as_argument(found: re.Match[str]) -> str:
    name = found[2].replace("-", "_")
    if name not in NAMES:
        return found[0]
    return f"{name}=false" if found[1] else name


@contextmanager
def speaking_of_arguments() -> Iterator[None]:
    """Errors within the block speak of arguments."""
    try:
        yield
    except DycokeError as error:
        raise type(error)(in_arguments(str(error))) from error
