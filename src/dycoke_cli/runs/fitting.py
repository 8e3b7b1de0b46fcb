"""`--fit`: a request whose frames, method and weights keep a budget of memory and seconds.

`engine/memory/fit.py` chooses, `CostModel` predicts, and what a user set stays as it is.
`fit_settings.py` lists what there is to choose from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.registry import described, symbols
from dycoke_cli.engine.memory.cost_model import NO_VISION, CostModel
from dycoke_cli.engine.memory.fit import (
    SECONDS_RESERVE,
    Budget,
    Choice,
    FitChoice,
    Setting,
    StageCosts,
    cheapest,
    choose,
)
from dycoke_cli.engine.memory.would_fit import smaller_model
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.unloaded_model import unloaded_model
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.request import Request
from dycoke_cli.resources import is_overloaded
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.video.limits import picture_size, size_within

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel


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
        choice = choose(self.settings, self.asked.count, self.costs, self.budget)
        if choice is None:
            raise UsageError(self._impossible())
        return choice

    def settled(self, listener: Listener) -> tuple[Request, LoadedModel | None]:
        """The request with the choice, which is shown; for a budget of seconds, once it is timed.

        Returns:
            The request, and the model if it was loaded as chosen to time it.
        """
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
            choice = choose(self.settings, self.asked.count, self.costs, self.budget)
            if choice is None:  # by kernels alone; its own times may be shorter
                bounds = replace(self.budget, seconds=None)
                choice = choose(self.settings, self.asked.count, self.costs, bounds)
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
        unloaded_model(self.request, listener.warning).check(self.request, 1)
        listener.stage("load")
        with faster_imports():
            from dycoke_cli.models.load import load
            from dycoke_cli.stock.quiet import silence_libraries

        silence_libraries()
        return load(self.request.model, on_stage=listener.stage, **asdict(loading))

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
            chosen += ", estimated: the model wasn't timed here yet"
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
