"""Whether a prompt fits a model's context, and what a model misses of a video. Needs no torch.

What counts is what the language model reads: the tokens that a method keeps. Positions are another
matter: where they are kept they run on over the gaps, which is warned of, not refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import WHAT_FITS
from dycoke_cli.errors import ContextError, UsageError
from dycoke_cli.models.catalog import ClipTokens
from dycoke_cli.models.families import Family

ONE_FRAME = "only one frame was sampled: it shows no motion and no order of events"
MAX_GAP_S = 30
"""Seconds between two frames beyond which a warning is due.

A shot lasts a few seconds and an action rarely half a minute: beyond, whole events lie between two
frames. 32 frames are that far apart in a video of a quarter of an hour.
"""


def check_context(
    context: int,
    clip: ClipTokens,
    frames: int,
    method: Method,
    text: int,
    max_tokens: int,
    subtitle_lines: int = 0,
    others: int = 0,
) -> None:
    """Check that what the language model reads and generates fits into its context."""
    room = context - max_tokens - text - others
    read = method.most_read(clip.frames, clip.per_frame)
    if read <= room:
        return
    flags = ways_to_fit(clip, frames, method, lambda kept, shown: kept <= room)
    ways = [f"use {', or '.join(flags)}"] if flags else []
    left, lower = room + max_tokens - read, f"lower --max-tokens ({max_tokens})"
    if left > 0:
        ways.append(f"{lower} to {left}")
    elif not flags:
        ways.append(lower)
    if not flags:
        ways.append("shorten the question")
    what = f"{frames} frames"
    if others:
        what += f" and {others} tokens of other videos"
        ways.append("ask about fewer videos")
    if subtitle_lines:
        lines = "line" if subtitle_lines == 1 else "lines"
        what += f" and {subtitle_lines} {lines} of subtitles"
        ways.append("leave out --subtitles")
    raise ContextError(
        f"{what} make a prompt longer than the model's context of {context} tokens; "
        + ", or ".join(ways)
    )


def answer_room(context: int, most: int, read: int) -> int:
    """Tokens that an answer may have, 1 or more.

    Args:
        most: those that are asked for, or `WHAT_FITS`.
        read: tokens of the prompt.
    """
    return most if most != WHAT_FITS else max(1, context - read)


def room_for_video(context: int, text: int, max_tokens: int) -> int:
    """Visual tokens that a prompt has room for, 1 or more."""
    room = context - text - max_tokens
    if room >= 1:
        return room
    half = (context - text) // 2
    way = f"use --max-tokens {half} or lower" if half > 0 else "use fewer frames"
    raise ContextError(
        f"--max-tokens {max_tokens} leaves no room for the video in the model's context of "
        f"{context} tokens; {way}"
    )


def check_text_alone(context: int, text: int, max_tokens: int) -> None:
    """Check that a question without a video and its answer fit into the context."""
    left = context - text
    if left >= max_tokens:
        return
    ways = [f"lower --max-tokens ({max_tokens}) to {left}"] if left > 0 else []
    raise ContextError(
        f"the question has {text} tokens, which with its answer is longer than the model's context "
        f"of {context} tokens; {', or '.join([*ways, 'shorten it'])}"
    )


def check_several(model: str, family: Family, domain: str | None) -> None:
    """Check that a model can be shown several videos in one prompt.

    Args:
        domain: all that it knows, or None: such a model was trained on one clip at a time.
    """
    if not family.several_videos or domain is not None:
        raise UsageError(f"{model} is shown one video at a time; `dycoke batch` asks about each")


def ways_to_fit(
    clip: ClipTokens, frames: int, method: Method, fits: Callable[[int, int], bool]
) -> list[str]:
    """The most frames, and the largest `retain` of a method that has one, that would fit.

    Returns:
        The flags; none where not even one frame fits.
    """

    def of_frames(count: int) -> bool:
        # Some methods need several frames, and are no fewer tokens then.
        return count < least or fits(method.most_read(count, clip.per_frame), count)

    def of_share(count: int) -> bool:
        lower: Method = replace(method, **{"retain": count / unit})
        return fits(lower.most_read(clip.frames, clip.per_frame), clip.frames)

    ways = []
    least = next(count for count in range(1, clip.frames + 1) if _works(method, count, clip))
    most = _largest(clip.frames - 1, of_frames)
    if most >= least and (shown := most * frames // clip.frames):
        ways.append(f"{shown} frames or fewer")
    retain = method.parameters().get("retain")
    if retain is not None:
        # In thousandths, or in ten-thousandths of a budget below one in a hundred.
        unit = 10_000 if retain <= 0.01 else 1000
        if share := _largest(math.floor(retain * unit), of_share):
            ways.append(f"--retain {share / unit:g} or lower")
    return ways


def positions_warning(last: int, context: int, model: str, renumbers: bool | None) -> str | None:
    """A sentence where positions run beyond those that a model was trained for.

    Args:
        last: the highest position of the prompt and its answer, from 0.
        renumbers: whether positions are contiguous; None where they can't be.
    """
    if last < context:
        return None
    way = "" if renumbers is None else "--positions renumbered, "
    return (
        f"positions run up to {last}, and {model} was trained for {context}: its answer may be "
        f"worse than with {way}fewer frames or a part of the video (--start, --end)"
    )


def frames_warning(times_s: Sequence[float]) -> str | None:
    """A sentence where a video is shown by one frame, or by frames that are minutes apart.

    Args:
        times_s: of the frames, in seconds, ascending.
    """
    if len(times_s) < 2:
        return ONE_FRAME if times_s else None
    gap = (times_s[-1] - times_s[0]) / (len(times_s) - 1)
    if gap <= MAX_GAP_S:
        return None
    return (
        f"one frame in {gap:.0f} s: what happens between two frames isn't seen; choose a part with "
        "--start and --end, or use more frames"
    )


def _works(method: Method, frames: int, clip: ClipTokens) -> bool:
    try:
        method.kept_tokens(frames, clip.per_frame)
    except UsageError:
        return False
    return True


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that fits, if smaller ones do; 0 where none does."""
    # By bisection: `fits` may count the tokens of a clip frame by frame.
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
