"""Successive halving over settings, and the choice among the remaining ones (pure functions).

A setting's cost is its retention, mean of prefill and decode. Its quality is the mean divergence
from the uncompressed answers, which ranks settings with far fewer questions than the number of
changed answers does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from dycoke_cli.guard.bounds import interval
from dycoke_cli.tuning.observations import Observation

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


def choose(results: Sequence[SettingResult], target: float) -> SettingResult | None:
    """Cheapest setting with the required agreement; None if there is none."""
    enough = [one for one in results if one.agreement >= target]
    return min(enough, key=lambda one: (one.cost, one.divergence), default=None)


def guard_base(results: Sequence[SettingResult]) -> SettingResult:
    """Setting with the least expected cost if every changed answer is redone with all tokens."""
    # A share 1 - agreement of the questions costs a full pass (cost 1) on top.
    return min(results, key=lambda one: (one.cost + 1 - one.agreement, one.divergence))
