"""How questions are asked: what ask, batch and eval share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.video import Sampling

if TYPE_CHECKING:
    from dycoke_cli.compression.base import Method

_DYCOKE = (
    "ttm",
    "merge_ratio",
    "window",
    "kv_prune",
    "prune_ratio",
    "prune_layer",
    "recall",
    "recall_threshold",
    "variant",
    "positions",
    "dp_cache",
    "merge_stage",
    "prune_from",
)
# What keys of the first release had, whatever its value. What came later (a parameter of a method
# that came later, too) is in a key only where it differs from its default, which must then stay
# that: so no answer is asked again for it.
_SAMPLING = ("frames", "fps", "max_frames", "start_s", "end_s", "stream")
_GENERATION = ("max_new_tokens", "temperature", "seed", "trace")
_METHODS = {
    "none": (),
    "dycoke": _DYCOKE,
    "random": (*_DYCOKE, "draw_seed"),
    "fastv": ("prune_ratio", "prune_layer"),
}


@dataclass(frozen=True)
class Request:
    """How a question is asked, whatever it is, about whatever video.

    Args:
        model: what `--model` takes.
        loading: how it is loaded.
        sampling: which frames are read.
        method: which visual tokens are dropped, with all its parameters.
        generation: how answers are generated.
        subtitles: a file, or `video.subtitles.AUTO`; None for none. In a key they are part of what
            tells the video.
    """

    model: str
    loading: LoadOptions
    sampling: Sampling
    method: Method
    generation: GenerationOptions
    subtitles: str | None = field(default=None, kw_only=True)

    def key_parts(self) -> dict[str, Any]:
        """What an answer depends on beside its video, its question and the model, for a key."""
        return {
            "method": {"name": self.method.name, **method_key(self.method)},
            "sampling": _chosen(self.sampling, _SAMPLING),
            "decoding": _chosen(self.generation, _GENERATION),
        }

    def advise(self, sentence: str) -> str:
        """A sentence that advises other flags, in terms of those that were given."""
        if self.sampling.fps is None:
            return sentence
        sentence = re.sub(r"--frames(?= \d+ or fewer)", "--max-frames", sentence)
        more = "a higher --fps" if self.sampling.max_frames is None else "more --max-frames"
        sentence = sentence.replace("more --frames", more)
        return sentence.replace("fewer --frames", "a lower --fps")


def method_key(method: Method) -> dict[str, Any]:
    """The parameters of a method that are in a key, without its name."""
    parameters = method.parameters()
    always: Iterable[str] = _METHODS.get(method.name, ())
    plain = type(method)().parameters()
    return {
        name: value for name, value in parameters.items() if name in always or value != plain[name]
    }


def non_defaults(options: Any) -> dict[str, Any]:
    """The fields of a dataclass that aren't at their defaults."""
    plain = {field.name: field.default for field in fields(options)}
    return {name: value for name, value in asdict(options).items() if value != plain[name]}


def _chosen(options: Any, always: Iterable[str]) -> dict[str, Any]:
    """The fields of a dataclass that are in a key."""
    return {**{name: getattr(options, name) for name in always}, **non_defaults(options)}
