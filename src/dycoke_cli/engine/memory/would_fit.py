"""Flags with each of which an answer would fit the device's memory and the model's context."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from dycoke_cli.engine.context import ways_to_fit
from dycoke_cli.engine.memory.cost_in_windows import ReadInWindows, peak_in_windows
from dycoke_cli.engine.memory.cost_model import CostModel
from dycoke_cli.engine.memory.fit import Budget, Setting, StageCosts, choose
from dycoke_cli.models.catalog import CATALOG
from dycoke_cli.models.free_memory import HEADROOM
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.prompts.frame_tokens import ClipTokens

_LOSS = {"bfloat16": 0.0, "int8": 0.1, "int4": 1.5}
"""Points of accuracy lost by smaller weights.

int8 measured none (docs/speed.md). int4 wasn't measured here: the value only has to be above that
of int8, since the error of its layers is seven times as large, and below that of half the frames.
"""


def would_fit(answer: CostModel, clip: ClipTokens, frames: int) -> tuple[str, ...]:
    """Flags with each of which an answer would fit.

    Where no single one is enough, those that lose least together, by `choose`.
    """
    budget, method = Budget(answer.target.most), answer.method

    def of_tokens(kept: int, shown: int) -> bool:
        return budget.holds(answer.stage_costs(method, clip.of_frames(shown), kept))

    def costs(setting: Setting, shown: int) -> StageCosts | None:
        encoded = max(1, shown * clip.frames // frames)
        return models[setting.loading].costs(method, clip.of_frames(encoded))

    ways = ways_to_fit(clip, frames, method, of_tokens)
    smaller = smaller_weights(answer)
    models = {one: answer.loaded_as(one) for one in smaller}
    settings = [Setting(method.method, one, loss) for one, loss in smaller.items()]
    in_context = answer.context(clip, method.kept_tokens(clip.frames, clip.per_frame)).fits
    if in_context:  # else they alone don't help
        whole = (one for one in settings if (found := costs(one, frames)) and budget.holds(found))
        ways += [_flag(one.loading) for one in whole][:1]
    if not ways and (choice := choose(settings, frames, costs, budget)) is not None:
        ways = [f"{_flag(choice.setting.loading)} --frames {choice.frames}"]
    return (*ways, *(smaller_model(answer) if in_context else ()))


def would_fit_in_windows(answer: CostModel, video: ReadInWindows) -> tuple[str, ...]:
    """The same of a video that is read in windows: its frames hardly matter."""
    if not answer.context(video.clip, video.read).fits:
        return ()
    smaller = ((one, answer.loaded_as(one)) for one in smaller_weights(answer))
    ways = [
        _flag(one)
        for one, model in smaller
        if model.fits(peak_in_windows(model, answer.method, video)) in ("gpu", "ram")
    ]
    return (*ways[:1], *smaller_model(answer))


def smaller_weights(answer: CostModel) -> dict[LoadOptions, float]:
    """Options that make weights smaller, the least first, with the points that they lose."""
    loading = answer.loading
    stored_quantized = answer.stored.values.get("quantization_config") is not None
    if loading.quantize is not None or stored_quantized or answer.target.device == "mps":
        return {}
    smaller: dict[LoadOptions, float] = {}
    if answer.facts.dtype_bytes == 4:
        smaller[replace(loading, dtype="bfloat16")] = _LOSS["bfloat16"]
    names: tuple[Literal["int8", "int4"], ...] = ("int8", "int4")
    return smaller | {replace(loading, quantize=name): _LOSS[name] for name in names}


def smaller_model(answer: CostModel) -> list[str]:
    """The flag of the family's largest smaller model that fits the device; or none."""
    entry = answer.source.entry
    smaller = [
        other
        for other in CATALOG.values()
        if entry is not None
        and other.family == entry.family
        and (other.parameters or 0) < (entry.parameters or 0)
        and other.repo is not None
        and answer.target.fits(int(HEADROOM * 2 * (other.parameters or 0))) in ("gpu", "ram")
    ]
    largest = max(smaller, key=lambda other: other.parameters or 0, default=None)
    return [f"--model {largest.name}"] if largest else []


def _flag(loading: LoadOptions) -> str:
    """The flag of options that `smaller_weights` returns."""
    return f"--quantize {loading.quantize}" if loading.quantize else f"--dtype {loading.dtype}"
