"""Which questions can be answered together with others: the one rule."""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.encoded_video import EncodedVideo
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.typed_answer import asked_alone


def is_asked_alone(
    session: EncodedVideo, methods: Sequence[Method], options: GenerationOptions
) -> bool:
    """Whether a question can't be one of a batch, or is answered sooner alone."""
    loaded = session.loaded
    return (
        # Sampling depends on the rest of a batch, and a seed is to repeat an answer.
        options.temperature > 0
        or _is_penalized(loaded.model.generation_config, options)
        # Attention inside the language model selects tokens for a single sequence.
        or any(method.inside() or method.reads_before for method in methods)
        or (options.typed is not None and asked_alone(loaded))
        or options.trace is not None
        # Which rows of a stock processor's inputs belong to which prompt is known to that model
        # alone. What is left of windows has a length of its own.
        or loaded.family.stock_inputs
        or session.windowed is not None
        or len(session.clips) > 1
        # What was computed of the video is of one sequence.
        or session.is_prefilled
    )


def _is_penalized(own: object, options: GenerationOptions) -> bool:
    """Whether a repetition penalty sees the padding of a batch."""
    given = None if options.tokens is None else options.tokens.repetition_penalty
    penalty = getattr(own, "repetition_penalty", None) if given is None else given
    return penalty not in (None, 1.0)
