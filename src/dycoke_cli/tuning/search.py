"""Successive halving over settings, and the choice among those that are left; pure functions.

A setting's cost is the share of visual tokens that it reads, mean of prefill and decode; its loss
the mean divergence from the uncompressed answers, which ranks settings on far fewer questions than
changed answers do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from dycoke_cli.guard.bounds import interval
from dycoke_cli.tuning.observation import Observation

Measured = Mapping[str, Sequence[Observation]]
"""By setting: the observations of one video."""

LEAST_LEFT = 6


@dataclass(frozen=True)
class Standing:
    """How a setting did.

    Args:
        setting: its name.
        cost: share of visual tokens read, mean of prefill and decode.
        divergence: mean over questions, in nats per token.
        agreement: share of questions with the uncompressed answer, mean over videos.
        seconds: per question, prefill and decode.
        videos: that it was measured on.
    """

    setting: str
    cost: float
    divergence: float
    agreement: float
    seconds: float
    videos: int


def standing(setting: str, videos: Sequence[Measured]) -> Standing:
    """How a setting did on videos, of which it was measured on one at least."""
    own = [video[setting] for video in videos if setting in video]
    every = [one for video in own for one in video]
    return Standing(
        setting=setting,
        cost=fmean((one.read + one.read_in_decode) / (2 * max(1, one.visual)) for one in every),
        divergence=fmean(one.divergence for one in every),
        agreement=1 - fmean(losses(setting, videos)),
        seconds=fmean(one.seconds for one in every),
        videos=len(own),
    )


def losses(setting: str, videos: Sequence[Measured]) -> list[float]:
    """Of each video that it was measured on, the share of changed answers."""
    own = [video[setting] for video in videos if setting in video]
    return [fmean(not one.same for one in video) for video in own]


def best_half(
    settings: Sequence[str], videos: Sequence[Measured], target: float, least: int = LEAST_LEFT
) -> list[str]:
    """The better half, in the order given.

    Settings whose agreement can't reach the target any more (95 % confidence) come last; among the
    others the front of those that nobody beats in both cost and divergence, then the next front.

    Args:
        settings: that were measured on all of the videos.
        videos: so far.
        target: the agreement that is asked for.
        least: how many are left at least.
    """
    standings = {name: standing(name, videos) for name in settings}
    hopeless = {n for n in settings if 1 - interval(losses(n, videos), 0.9)[0] < target}
    ordered: list[str] = []
    for group in ([n for n in settings if n not in hopeless], sorted(hopeless)):
        left = list(group)
        while left:
            top = front([standings[name] for name in left])
            names = sorted((one.setting for one in top), key=lambda n: standings[n].divergence)
            ordered += names
            left = [name for name in left if name not in names]
    kept = set(ordered[: max(least, (len(settings) + 1) // 2)])
    return [name for name in settings if name in kept]


def front(standings: Sequence[Standing]) -> list[Standing]:
    """Those that no other beats in cost and divergence, cheapest first."""
    found: list[Standing] = []
    for one in sorted(standings, key=lambda each: (each.cost, each.divergence)):
        if not found or one.divergence < found[-1].divergence:
            found.append(one)
    return found


def halve(
    settings: Sequence[str],
    videos: Sequence[str],
    measure: Callable[[str, Sequence[str]], Measured | None],
    target: float,
    least: int = LEAST_LEFT,
) -> tuple[list[str], list[Measured]]:
    """Measure settings on more and more videos, and drop half of them each time.

    Args:
        settings: their names.
        videos: to choose by, in order: one, then two, four, …
        measure: some settings on a video; None where the time is up.
        target: see `best_half`.
        least: likewise.

    Returns:
        The settings that are left, and what was measured of them by video.
    """
    left, measured, rung = list(settings), list[Measured](), 1
    for video in videos:
        if len(measured) == rung:
            rung *= 2
            left = best_half(left, measured, target, least)
        found = measure(video, left)
        if found is None:
            break
        if any(found.values()):  # else none of its questions was answered, or it can't be read
            measured.append(found)
    return left, measured


def choose(standings: Sequence[Standing], target: float) -> Standing | None:
    """The cheapest setting that agrees as often as asked for; None where none does."""
    enough = [one for one in standings if one.agreement >= target]
    return min(enough, key=lambda one: (one.cost, one.divergence), default=None)


def guard_base(standings: Sequence[Standing]) -> Standing:
    """The setting that reads least if every changed answer were asked again with all tokens."""
    return min(standings, key=lambda one: (one.cost + 1 - one.agreement, one.divergence))
