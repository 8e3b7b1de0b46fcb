"""Search of a tuning: its grid, its observations, and successive halving over them.

A setting's cost is its retention, mean of prefill and decode. Its quality is the mean divergence
from the uncompressed answers, which ranks settings with far fewer questions than the number of
changed answers does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import Certainty
from dycoke_cli.answer.json_schema import from_dict, to_dict
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.methods import (
    Downsample,
    RandomMerge,
    UniformFrames,
    UniformSpatial,
)
from dycoke_cli.compression.registry import METHODS, name_of, places
from dycoke_cli.engine.binding import bind
from dycoke_cli.errors import UsageError
from dycoke_cli.guard.bounds import interval
from dycoke_cli.param import parameters_of
from dycoke_cli.runs.journal import Journal

if TYPE_CHECKING:
    from dycoke_cli.models.resolve import ResolvedModel


# Observations of a tuning: one question under one setting, and the journal that stores them.
#
# The journal has one line per video and setting, so that an interrupted run resumes. Nothing here
# imports torch.


FILE = "observations.jsonl"


@dataclass(frozen=True)
class Observation:
    """Answer to a question under a setting, compared with the uncompressed one."""

    question: str  # text of the question
    answer: str  # the greedy answer, decoded freely (not forced to the uncompressed one)
    same: bool  # whether it has the same words as the uncompressed answer
    divergence: float  # KL(uncompressed, compressed) in nats, mean over uncompressed tokens
    certainty: Certainty  # of the greedy answer
    visual: int  # visual tokens before compression
    read: int  # visual tokens at prefill
    read_in_decode: float  # visual tokens attended per decoding step (mean over steps and layers)
    seconds: float  # prefill and decode of the greedy answer


class TuneJournal(Journal):
    """Observations by key; see `key_of`."""

    what = "a journal of dycoke tune"
    begin = b'{"observed": "'

    def __init__(self, path: Path) -> None:
        self._observations: dict[str, list[Observation]] = {}
        super().__init__(path)

    def get(self, key: str) -> list[Observation] | None:
        """Observations under a key; None if there are none."""
        return self._observations.get(key)

    def add(self, key: str, observations: Sequence[Observation]) -> None:
        """Append observations to the file."""
        line = {"observed": key, "answers": [to_dict(each) for each in observations]}
        self.write((json.dumps(line) + "\n").encode("ascii"))
        self._observations[key] = list(observations)

    def take(self, line: bytes) -> None:
        """Parse a line of the file."""
        content = json.loads(line)
        self._observations[content["observed"]] = [
            from_dict(Observation, each) for each in content["answers"]
        ]


def key_of(about: Mapping[str, Any]) -> str:
    """Hash of everything that observations depend on."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


Measured = Mapping[str, Sequence[Observation]]
"""Observations of one video, by setting."""

LEAST_LEFT = 6
"""Settings that halving always keeps: the choice and the guard's ladder need several budgets."""


@dataclass(frozen=True)
class SettingResult:
    """Summary of a setting over videos."""

    setting: str  # name of the setting
    cost: float  # retention, mean of prefill and decode
    divergence: float  # mean over questions, in nats per token
    agreement: float  # share of questions with the uncompressed answer, mean over videos
    seconds: float  # prefill and decode, per question
    videos: int  # number of videos with measurements


def summarize(setting: str, videos: Sequence[Measured]) -> SettingResult:
    """Summarize a setting over videos, at least one of which has measurements of it."""
    by_video = [video[setting] for video in videos if setting in video]
    every = [one for observations in by_video for one in observations]
    return SettingResult(
        setting=setting,
        cost=fmean((one.read + one.read_in_decode) / (2 * max(1, one.visual)) for one in every),
        divergence=fmean(one.divergence for one in every),
        agreement=1 - fmean(losses(setting, videos)),
        seconds=fmean(one.seconds for one in every),
        videos=len(by_video),
    )


def losses(setting: str, videos: Sequence[Measured]) -> list[float]:
    """Share of changed answers in each video with measurements of a setting."""
    by_video = [video[setting] for video in videos if setting in video]
    return [fmean(not one.same for one in observations) for observations in by_video]


def best_half(
    settings: Sequence[str], videos: Sequence[Measured], target: float, least: int = LEAST_LEFT
) -> list[str]:
    """Select the better half of the settings, best first.

    Settings are ranked by Pareto front of cost and divergence: the optimal ones first, then those
    that are optimal without them, and so on. Settings whose agreement is below the target with 95 %
    confidence come last.
    """
    results = {name: summarize(name, videos) for name in settings}
    # Only the interval's upper end counts, so a two-sided 90 % is a one-sided 95 %.
    hopeless = {n for n in settings if 1 - interval(losses(n, videos), 0.9)[0] < target}
    ordered: list[str] = []
    for group in ([n for n in settings if n not in hopeless], sorted(hopeless)):
        left = list(group)
        while left:
            optimal_now = pareto_front([results[name] for name in left])
            names = sorted(
                (one.setting for one in optimal_now), key=lambda n: results[n].divergence
            )
            ordered += names
            left = [name for name in left if name not in names]
    return ordered[: max(least, _half(len(settings)))]


def pareto_front(results: Sequence[SettingResult]) -> list[SettingResult]:
    """Pareto front of cost and divergence, cheapest first."""
    optimal: list[SettingResult] = []
    # By ascending cost, a setting is optimal if it diverges less than all cheaper ones.
    for one in sorted(results, key=lambda each: (each.cost, each.divergence)):
        if not optimal or one.divergence < optimal[-1].divergence:
            optimal.append(one)
    return optimal


Measure = Callable[[str, Sequence[str], float], Measured | None]
"""Measures settings on a video, see `halve`."""


def halve(
    settings: Sequence[str],
    videos: Sequence[str],
    measure: Measure,
    target: float,
    least: int = LEAST_LEFT,
) -> tuple[list[str], list[Measured]]:
    """Successive halving: half of the settings are dropped after 1, 2, 4, … videos.

    It is anytime: each video has its share of the time, and settings that aren't measured within it
    are dropped, too. So with little time, few settings are compared, on as many videos.

    Args:
        videos: search videos, in order.
        measure: measures settings on a video, in their order, until a share of the time (the last
            argument, from 0 to 1) is over. It returns observations of those that were measured,
            empty if the video can't be read; None if the time is up.

    Returns:
        The remaining settings, and the measurements by video.
    """
    left, measured, rung = list(settings), list[Measured](), 1
    for video, share in zip(videos, _shares(len(left), len(videos), least), strict=True):
        # Each rung doubles the videos and halves the settings, so all rungs cost about the same.
        if len(measured) == rung:
            rung *= 2
            left = best_half(left, measured, target, least)
        observations = measure(video, left, share)
        if observations is None:
            break
        # Empty if the video can't be read, or if the model refused all of its questions.
        if any(observations.values()):
            measured.append(observations)
            left = [name for name in left if name in observations]
    return left, measured


def _shares(settings: int, videos: int, least: int) -> list[float]:
    """Share of the time after which each video should be measured, if nothing is dropped by time.

    A comparison counts as much as the uncompressed answers of a video.
    """
    costs, left, rung = list[int](), settings, 1
    for video in range(videos):
        if video == rung:
            rung *= 2
            left = min(left, max(least, _half(left)))
        costs.append(left + 1)
    return [total / sum(costs) for total in accumulate(costs)]


def _half(settings: int) -> int:
    return (settings + 1) // 2


def cheapest_setting(results: Sequence[SettingResult], target: float) -> SettingResult | None:
    """Cheapest setting with the required agreement; None if there is none."""
    enough = [one for one in results if one.agreement >= target]
    return min(enough, key=lambda one: (one.cost, one.divergence), default=None)


def guard_base(results: Sequence[SettingResult]) -> SettingResult:
    """Setting with the least expected cost if every changed answer is redone with all tokens."""
    # A share 1 - agreement of the questions costs a full pass (cost 1) on top.
    return min(results, key=lambda one: (one.cost + 1 - one.agreement, one.divergence))


# Search space of a tuning: a grid over the parameters of every registered method.


BUDGETS = {"retain": (0.1, 0.25, 0.5), "merge_ratio": (0.9, 0.7, 0.5)}
"""Parameters that say how much is kept, smallest budget first; a guard's ladder varies these."""
_VARIED: dict[str, tuple[Any, ...]] = {
    "prune_ratio": (0.9,),
    "positions": ("kept", "renumbered"),
    "merge_stage": ("vision",),
}
"""Each varied alone, from the default."""
_CONTROLS = (RandomMerge, UniformFrames, UniformSpatial, Downsample)


def grid(model: ResolvedModel) -> list[Method]:
    """All settings that the model supports, without duplicates, likely ones first.

    Per method: every combination of budget and prune layer; then, at each budget, one other
    parameter at a time, because the full product would take too long to measure.

    A search with little time compares only the first ones. So defaults at each budget come first,
    in the order of `dycoke methods`; then the variations; controls are last of both.
    """
    settings: dict[str, tuple[tuple[bool, bool], Method]] = {}
    for kind in METHODS.values():
        if not places(kind):
            continue
        for parameters in _settings(kind, model.layers):
            method = _supported_method(kind, parameters, model)
            if method is not None:
                rank = not parameters.keys() <= BUDGETS.keys(), kind in _CONTROLS
                settings.setdefault(name_of(method), (rank, method))
    # A stable sort: within a rank the order stays.
    return [method for _, method in sorted(settings.values(), key=lambda each: each[0])]


def ladder_of(method: Method, among: Mapping[str, Method]) -> list[str]:
    """The settings that equal a method except for its budget, itself included, smallest first."""

    def without_budget(each: Method) -> dict[str, Any]:
        return {k: v for k, v in each.parameters().items() if k not in BUDGETS}

    same_but_budget = {
        name: each
        for name, each in among.items()
        if type(each) is type(method) and without_budget(each) == without_budget(method)
    }
    # Any clip will do: only the order of the budgets counts.
    return sorted(same_but_budget, key=lambda name: same_but_budget[name].kept_tokens(64, 196))


def _settings(kind: type[Method], layers: int) -> Iterator[dict[str, Any]]:
    parameters = parameters_of(kind)
    budgets: list[dict[str, Any]] = next(
        (
            [{name: value} for value in values]
            for name, values in BUDGETS.items()
            if name in parameters
        ),
        [{}],
    )
    at_layers: list[dict[str, Any]] = [{}]
    if "prune_layer" in parameters:
        places = {3, layers // 3, layers // 2, 3 * layers // 4}
        at_layers += [{"prune_layer": n} for n in sorted(places) if 1 <= n < layers]
    for budget, layer in product(budgets, at_layers):
        yield budget | layer
    for budget in budgets:
        for name, values in _VARIED.items():
            yield from (budget | {name: value} for value in values if name in parameters)


def _supported_method(
    kind: type[Method], parameters: dict[str, Any], model: ResolvedModel
) -> Method | None:
    if parameters.get("positions") == "renumbered" and not model.family.counts_tokens:
        return None
    try:
        return bind(kind(**parameters), model.traits).method
    except UsageError:
        return None
