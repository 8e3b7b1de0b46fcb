"""`generation_kwargs` of a task, and `--gen_kwargs`: honoured exactly, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

# What changes nothing, where neither the task nor the checkpoint says otherwise.
_NEUTRAL = {
    "top_p": 1.0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "skip_special_tokens": True,
}
_OPTIONS = tuple(parameters_of(GenerationOptions))
# Of sampling alone: greedy decoding doesn't read them.
_SAMPLING = ("top_p", "top_k")
# Of images, which a task that asks about a video doesn't have.
_OF_IMAGES = ("image_aspect_ratio",)


def read_generation(
    given: Mapping[str, Any], usual: GenerationOptions, checkpoint: Any
) -> tuple[GenerationOptions, tuple[str, ...]]:
    """What a task asks for.

    Returns:
        How to generate, and the texts that end an answer and don't belong to it.
    """
    rest = {name: value for name, value in given.items() if value is not None}
    until = rest.pop("until", ())
    do_sample = rest.pop("do_sample", None)
    # As transformers call them.
    names = {"max_new_tokens" if name == "max_tokens" else name: name for name in _OPTIONS}
    own = {name: rest.pop(key) for key, name in names.items() if key in rest}
    # As in transformers, do_sample decides where it is given; 1 is the temperature of its sampling.
    if do_sample is False:
        own["temperature"] = 0.0
    elif do_sample and own.get("temperature", 1.0) == 0:
        raise UsageError("do_sample=True and temperature=0 contradict each other; give one of them")
    elif do_sample:
        own.setdefault("temperature", usual.temperature or 1.0)
    options = GenerationOptions(**{**asdict(usual), **own})
    for name, value in rest.items():
        if name in _OF_IMAGES or (name in _SAMPLING and options.temperature == 0):
            continue
        stays = getattr(checkpoint, name, None)
        if value != (_NEUTRAL.get(name) if stays is None else stays):
            raise UsageError(
                f"{name}={value!r} isn't supported (max_new_tokens, until, do_sample, temperature "
                "and seed are); leave it out of the task's generation_kwargs"
            )
    stops = [until] if isinstance(until, str) else until
    return options, tuple(filter(None, stops))


def up_to(stops: tuple[str, ...], answer: str) -> str:
    """An answer up to the first text that ends it."""
    return answer[: min((at for stop in stops if (at := answer.find(stop)) >= 0), default=None)]
