"""Settings that `--fit` chooses from: methods, weights and resolutions, with what they lose."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.memory.cost import clip_tokens, config_of
from dycoke_cli.engine.memory.cost_model import CostModel
from dycoke_cli.engine.memory.expected_time import UNFINISHED
from dycoke_cli.engine.memory.fit import Budget, Setting
from dycoke_cli.engine.memory.would_fit import smaller_weights
from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import Entry, find
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens, KeptShape
from dycoke_cli.request import Request
from dycoke_cli.runs.fitting import AskedFrames, Fitting

METHODS: tuple[tuple[Method, float], ...] = (
    (Method(), 0.0),
    (DyCokePlus(retain=0.5), 0.9),
    (DyCoke(kv_prune=False), 2.0),
    (DyCokePlus(retain=0.25), 2.8),
    (DyCokePlus(retain=0.1), 3.9),
)
"""Methods with the points of accuracy that they lose (docs/results.md, model tokens-64; DyCoke:
mean of its three seeds; at 50 % the bundled model). None prunes the KV cache: what that loses
depends on the model (docs/methods.md)."""
RESOLUTIONS = ((1.0, 0.0), (0.5, 4.7), (0.25, 9.3))
"""Shares of the pixels that a model of dynamic resolution reads of a frame, with the points lost
(`downsample` in docs/results.md; a half is half of a quarter's)."""
_TRIES = 10


def fitting(
    request: Request,
    budget: Budget,
    asked: AskedFrames,
    *,
    free_method: bool,
    memory: int | None = None,
) -> Fitting:
    """The settings of a request to choose from.

    Args:
        memory: bytes of the device; None for what is free on this machine.
    """
    if request.subtitles is not None:
        raise UsageError("--fit can't count the tokens of subtitles; leave out --subtitles")
    if request.sampling.audio:
        raise UsageError("--fit can't count the tokens of audio; leave out --audio")
    source, loading, generation = find(request.model), request.loading, request.generation
    target = Target.of(loading.device, memory, this_machine())
    bounds = [bound for bound in (budget.bytes, target.free) if bound is not None]
    bounded = replace(budget, bytes=min(bounds, default=None))
    target = Target(target.device, bounded.bytes)
    stored = config_of(source, loading.revision)
    traits = stored.traits(source.name)
    as_is = CostModel(
        source,
        stored,
        bind(request.method, traits),
        loading,
        generation.max_new_tokens if generation.typed is None else 1,
        target,
        asked.height * asked.width * 3,
        asked.question,
    )
    if budget.seconds is not None:
        as_is = _timed(as_is)
    size = (asked.count, asked.height, asked.width)
    whole = clip_tokens(source, *size, loading.revision)
    smaller = smaller_weights(as_is)
    losses = {as_is.loading: 0.0} | {
        one: loss for one, loss in smaller.items() if _is_possible(one, target.device)
    }
    bound: dict[Method, BoundMethod] = {}
    methods = METHODS if free_method else ((request.method, 0.0),)
    for method, _ in methods:
        with suppress(UsageError):  # the model doesn't support it
            bound[method] = bind(method, traits)
    settings = [
        Setting(method, weights, loss + of_weights + of_pixels, pixels)
        for weights, of_weights in losses.items()
        for method, loss in methods
        if method in bound
        for pixels, of_pixels in _resolutions(source.entry, whole)
    ]
    models = {one: as_is.loaded_as(one) for one in losses if one != as_is.loading}
    return Fitting(
        request,
        budget,
        bounded,
        asked,
        {as_is.loading: as_is} | models,
        bound,
        settings,
        cache(partial(_tokens, source.entry, asked, whole)),
    )


def _timed(model: CostModel) -> CostModel:
    """The same model, once its kernels are timed; an estimate times them for a second only."""
    for _ in range(_TRIES):
        if model.facts.untimed != UNFINISHED:
            break
        model = model.loaded_as(model.loading)
    return model


def _is_possible(loading: LoadOptions, device: str) -> bool:
    """Whether this machine has what smaller weights need."""
    own = loading.quantize is None or (loading.quantize == "int8" and device == "cpu")
    return own or find_spec("bitsandbytes") is not None


def _resolutions(entry: Entry | None, whole: ClipTokens) -> list[tuple[int | None, float]]:
    """The most pixels of a frame, and the points lost; as it is, without dynamic resolution."""
    shape = None if entry is None else entry.shape
    if not isinstance(shape, KeptShape):
        return [(None, 0.0)]
    read = whole.per_frame * shape.side**2
    return [(None if share == 1 else int(share * read), loss) for share, loss in RESOLUTIONS]


def _tokens(
    entry: Entry | None, asked: AskedFrames, whole: ClipTokens, frames: int, pixels: int | None
) -> ClipTokens:
    width, height = asked.within(pixels)
    exact = None if entry is None else entry.clip_tokens(frames, height, width)
    # A processor would take long to ask for each number of frames.
    return exact or whole.of_frames(max(1, frames * whole.frames // asked.count))
