"""`--fit`: a request whose frames, method and weights keep a budget of memory and seconds.

`engine/memory/fit.py` chooses, `CostModel` predicts, and what a user set stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.compression.registry import described, symbols
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.memory.cost import clip_tokens, config_of
from dycoke_cli.engine.memory.cost_model import (
    CUDA_CONTEXT,
    NO_VISION,
    CostModel,
    smaller_model,
    smaller_weights,
)
from dycoke_cli.engine.memory.expected_time import BUSY, UNFINISHED
from dycoke_cli.engine.memory.fit import (
    SECONDS_RESERVE,
    Budget,
    Choice,
    FitChoice,
    Setting,
    StageCosts,
    cheapest,
    least_loss,
)
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.models.catalog import Entry, find
from dycoke_cli.models.free_memory import Target, keep_within, this_machine
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens, KeptShape
from dycoke_cli.request import Request
from dycoke_cli.resources import is_overloaded
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.video.limits import picture_size, size_within

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel


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


@dataclass(frozen=True)
class AskedFrames:
    """What the request asks about."""

    count: int  # frames that it samples
    height: int  # of each as decoded, in pixels
    width: int  # likewise
    question: str | None = None  # the longest one; None where it isn't known

    def within(self, pixels: int | None) -> tuple[int, int]:
        """Width and height, scaled down to at most so many pixels."""
        size = (self.width, self.height)
        return size if pixels is None else size_within(*size, pixels)


@dataclass(frozen=True)
class Fitting:
    """The settings of a request to choose from, and what they cost; see `fitting`."""

    request: Request  # as the command line has it
    given: Budget  # the budget of `--fit`
    budget: Budget  # the same, its memory bounded by what is free
    asked: AskedFrames  # the frames that the request samples, which are the most that are chosen
    # by options of loading; the first is the model without `--fit`
    models: dict[LoadOptions, CostModel]
    bound: dict[Method, BoundMethod]  # the methods, bound to the model
    settings: list[Setting]  # every method with every form of the weights
    # visual tokens of a number of frames of at most so many pixels
    tokens: Callable[[int, int | None], ClipTokens]

    def costs(self, setting: Setting, frames: int) -> StageCosts | None:
        """What an answer takes."""
        clip = self.tokens(frames, setting.max_pixels)
        return self.models[setting.loading].costs(self.bound[setting.method], clip)

    def choice(self) -> Choice:
        """The setting and number of frames that lose least and keep the budget."""
        choice = least_loss(self.settings, self.asked.count, self.costs, self.budget)
        if choice is None:
            raise UsageError(self._impossible())
        return choice

    def fitted(self, listener: Listener) -> tuple[Request, LoadedModel | None]:
        """The request with the choice, which is shown; for a budget of seconds, once it is timed.

        Returns:
            The request, and the model if it was loaded as chosen to time it.
        """
        target = next(iter(self.models.values())).target
        if self.budget.bytes is not None and target.device == "cuda":
            keep_within(self.budget.bytes - CUDA_CONTEXT)
        timed = self._calibrated(listener)
        choice = self.choice()
        listener.note(self.report(choice).reason)
        return self.applied(choice), timed.get(choice.setting.loading)

    def _calibrated(self, listener: Listener) -> dict[LoadOptions, LoadedModel]:
        """Time the model that would be chosen, unless it was: it is chosen anew by these times.

        Returns:
            The model that was loaded last, by its options; empty if none was.
        """
        timed: dict[LoadOptions, LoadedModel] = {}
        seen: set[LoadOptions] = set()
        while self.budget.seconds is not None:
            choice = least_loss(self.settings, self.asked.count, self.costs, self.budget)
            if choice is None:  # by kernels alone; its own times may be shorter
                bounds = replace(self.budget, seconds=None)
                choice = least_loss(self.settings, self.asked.count, self.costs, bounds)
            loading = self.settings[0].loading if choice is None else choice.setting.loading
            model = self.models[loading]
            known = model.stage_times is not None or loading in seen
            # On a busy machine wrong times would stay in the cache.
            if choice is None or known or model.facts.rates is None or is_overloaded():
                break
            seen.add(loading)
            timed.clear()  # two models might not fit into memory
            timed[loading] = loaded = self._loaded(loading, listener)
            listener.stage("warm_up")
            from dycoke_cli.engine.memory.calibrate import calibrate

            model.stage_times = calibrate(loaded, model, self.asked.height, self.asked.width)
        return timed

    def _loaded(self, loading: LoadOptions, listener: Listener) -> LoadedModel:
        unloaded = unloaded_model(self.request, listener.warning)
        unloaded.check(self.request, 1)
        listener.stage("load")
        with faster_imports():
            from dycoke_cli.models.load import load
            from dycoke_cli.stock.quiet import silence_libraries

        silence_libraries()
        return load(unloaded.source, on_stage=listener.stage, **asdict(loading))

    def applied(self, choice: Choice) -> Request:
        """The request with a choice."""
        sampling = self.request.sampling
        if choice.frames < self.asked.count and sampling.fps is None:
            sampling = replace(sampling, frames=choice.frames)
        elif choice.frames < self.asked.count:
            sampling = replace(sampling, max_frames=choice.frames)
        setting = choice.setting
        sampling = replace(sampling, max_pixels=setting.max_pixels)
        return replace(
            self.request, method=setting.method, loading=setting.loading, sampling=sampling
        )

    def report(self, choice: Choice) -> FitChoice:
        """The choice with its reason."""
        setting, model = choice.setting, self.models[choice.setting.loading]
        return FitChoice(
            frames=choice.frames,
            asked=self.asked.count,
            method=described(self.bound[setting.method].method),
            max_pixels=setting.max_pixels,
            dtype=setting.loading.quantize or model.facts.dtype,
            bytes=choice.costs.bytes,
            seconds=choice.costs.seconds,
            measured=self._is_timed(choice),
            reason=self._reason(choice),
        )

    def _reason(self, choice: Choice) -> str:
        asked, ideal = self.asked.count, min(self.settings, key=lambda one: one.loss)
        chosen = f"--fit {self.given}: {self._named(choice)} ({self._taken(choice.costs)})"
        if self.given.seconds is not None and not self._is_timed(choice):
            rates = self.models[choice.setting.loading].facts.rates
            why = BUSY if rates and rates.rough else "the model wasn't timed here yet"
            chosen += f", estimated: {why}"
        if (choice.setting, choice.frames) == (ideal, asked):
            return f"{chosen}; nothing has to be reduced"
        costs = self.costs(ideal, asked)
        if costs is None:
            return chosen
        whole = self._named(Choice(ideal, asked, costs))
        if not costs.in_context:
            return f"{chosen}; {whole} don't fit into the model's context"
        return f"{chosen}; {whole} would take {self._taken(costs)}"

    def _is_timed(self, choice: Choice) -> bool:
        return self.models[choice.setting.loading].stage_times is not None

    def _named(self, choice: Choice) -> str:
        setting, frames = choice.setting, choice.frames
        method, clip = self.bound[setting.method].method, self.tokens(frames, setting.max_pixels)
        words = symbols(method, method.kept_tokens(clip.frames, clip.per_frame))
        weights = setting.loading.quantize or self.models[setting.loading].facts.dtype
        count = f"{frames} frame" + ("s" if frames != 1 else "")
        if setting.max_pixels is not None:
            count += f" of {picture_size(self.asked.within(setting.max_pixels))}"
        return f"{count}, {' '.join([method.title, *words])}, {weights} weights"

    def _taken(self, costs: StageCosts) -> str:
        taken = f"{_gigabytes(costs.bytes)} with the reserve"
        if costs.seconds is None or self.given.seconds is None:
            return taken
        return f"{taken}, about {costs.seconds:.3g} s"

    def _impossible(self) -> str:
        """A sentence with what could be kept."""
        as_is = self.models[next(iter(self.models))]
        model, given = self.request.model, f"--fit {self.given}"
        nearest = cheapest(self.settings, self.asked.count, self.costs, self.budget)
        if nearest is None:
            return f"not even one frame fits into the context of {model}; lower --max-new-tokens"
        named, costs = self._named(nearest), nearest.costs
        smaller = "".join(f", or {flag}" for flag in smaller_model(as_is))
        if not self.budget.holds_bytes(costs):
            least = math.ceil(costs.bytes / 1e8) / 10
            if self.given.bytes is None or costs.bytes <= self.given.bytes:
                free = _gigabytes(self.budget.bytes or 0)
                return f"{model} needs {least:g}GB ({named}), and {free} are free{smaller}"
            enough = replace(self.given, bytes=int(least * 1e9))
            return f"{given} is too little for {model}: use --fit {enough} ({named}){smaller}"
        if costs.seconds is None:
            why = as_is.facts.untimed or NO_VISION
            return f"{given} needs predicted seconds, and there are none: {why}"
        seconds = float(f"{costs.seconds * SECONDS_RESERVE * 1.005:.3g}")
        enough = replace(self.given, seconds=seconds)
        return f"{given} is too short for {model}: use --fit {enough} ({named}){smaller}"


def _gigabytes(value: int) -> str:
    return f"{value / 1e9:.3g} GB"


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
