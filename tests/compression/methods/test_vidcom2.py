"""VidCom2 against loops over tokens, channels and frames."""

from __future__ import annotations

import math

import pytest

from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.methods.vidcom2 import VidCom2
from tests.compression.clips import BUDGETS, CLIPS, Frames, floats, mean, norm, single


def similarity(token: list[float], center: list[float]) -> float:
    distance = math.fsum((x - y) ** 2 for x, y in zip(token, center, strict=True))
    return sum(math.exp(-distance / (2 * alpha)) for alpha in (0.125, 0.25, 0.5, 1.0, 2.0))


def steady(frames: Frames) -> list[int]:
    """The half of the channels that vary least."""
    everything = [token for frame in frames for token in frame]
    average = mean(everything)
    spread = [
        (single(mean([[(t[c] - average[c]) ** 2] for t in everything])[0]), c)
        for c in range(len(average))
    ]
    return sorted(c for _, c in sorted(spread)[: max(1, len(average) // 2)])


def units(frames: Frames, channels: list[int]) -> Frames:
    short = [[[token[c] for c in channels] for token in frame] for frame in frames]
    return [[[x / max(norm(t), 1e-12) for x in t] for t in frame] for frame in short]


def scored(
    frames: Frames, first: Frames | None = None, before: Frames | None = None
) -> tuple[list[list[float]], list[float]]:
    """Redundancy of each token, and mean similarity of each frame to the video.

    Args:
        frames: of the video, or of one window.
        first: frames of its first window.
        before: frames of the windows before it.
    """
    channels = steady(first or frames)
    unit = units(frames, channels)
    video = mean([token for frame in (*units(before or [], channels), *unit) for token in frame])
    to_video = [[similarity(token, video) for token in frame] for frame in unit]
    redundancy = [
        [single(v + similarity(t, mean(frame))) for v, t in zip(values, frame, strict=True)]
        for values, frame in zip(to_video, unit, strict=True)
    ]
    return redundancy, [math.fsum(values) / len(values) for values in to_video]


def counts(to_video: list[float], size: int, retain: float) -> list[int]:
    """How many tokens each frame keeps before they are brought to the budget."""
    highest = max(-v for v in to_video)
    powers = [math.exp((-v - highest) / 0.01) for v in to_video]
    chances = [power / sum(powers) for power in powers]
    average = sum(chances) / len(chances)
    scales = [min(1.0, retain * (1 + p - average)) for p in chances]
    return [max(1, round(single(scale * size))) for scale in scales]  # halves to even


def reference(
    frames: Frames, retain: float, first: Frames | None = None, before: Frames | None = None
) -> list[int]:
    """The rule, a token at a time; arguments are those of `scored`."""
    size = len(frames[0])
    redundancy, to_video = scored(frames, first, before)
    flat = [value for values in redundancy for value in values]
    kept = set()
    for f, count in enumerate(counts(to_video, size, retain)):
        ranked = sorted(range(size), key=lambda n, f=f: (redundancy[f][n], n))  # type: ignore[misc]
        kept |= {f * size + n for n in ranked[:count]}
    target = max(len(frames), int(len(flat) * retain))
    while len(kept) > target:
        kept.remove(max(kept, key=lambda n: (flat[n], n)))
    while len(kept) < target:
        dropped = [n for n in range(len(flat)) if n not in kept]
        kept.add(min(dropped, key=lambda n: (flat[n], n)))
    return sorted(kept)


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        chosen = VidCom2(retain=retain).select(CLIPS[clip]).tolist()
        assert chosen == reference(floats(clip), retain), retain


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("size", [2, 3])
def test_a_window_is_compared_with_all_frames_so_far(clip: str, size: int) -> None:
    """In the channels of the first window; each window by the rule, with a mean over more."""
    frames, windows = floats(clip), CLIPS[clip].split(size)
    for retain in BUDGETS:
        method, so_far, start = VidCom2(retain=retain), (), 0
        for window in windows:
            so_far = method.so_far(window, so_far)
            chosen = method.choose(SelectionInputs(window, so_far=so_far)).kept.tolist()
            end = start + len(window)
            expected = reference(frames[start:end], retain, frames[:size], frames[:start])
            assert chosen == expected, (retain, start)
            start = end
