"""Methods with a budget: how many tokens are kept, of a whole video or of each frame alike.

They may merge some inside the vision tower, and select behind it among all tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Annotated, ClassVar, Literal

from dycoke_cli.compression.coverage import merged, similarities
from dycoke_cli.compression.method import (
    BeforeVision,
    Method,
    Need,
    Selection,
    SelectionInputs,
    counted_on,
    into_itself,
    settled_value,
    without_lowest,
)
from dycoke_cli.compression.similar import similarity_to_frame_before, wide
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param

RETAIN = Param(
    "Share of the video's tokens to keep (0.25 is a quarter). Of methods with a budget; the number "
    "of tokens is exact.",
    symbol="R",
    above=0,
    to=1,
    budget=True,
)

Positions = Annotated[
    Literal["kept", "renumbered"] | None,
    Param(
        "Positions of the remaining tokens: kept (original) or renumbered (contiguous).",
        default="renumbered; kept for models whose positions are time, height and width, and "
        "where the checkpoint says so (`dycoke models info`), unless a video is read in several "
        "windows",
    ),
]


MergeThreshold = Annotated[
    float, Param("Tokens more similar than this are merged over time.", at_least=-1, to=1)
]
Contextual = Annotated[
    float, Param("Fraction of the kept tokens that others are merged into.", at_least=0, below=1)
]

FRAMES_BY = Param(
    "How the budget is shared among frames: each the same (equal), or by the attention that the "
    "prompt's last token pays to each, in a first pass that reads all tokens (question; DyToK).",
    before="equal",
)


def budget(frames: int, per_frame: int, retain: float) -> int:
    """The number of tokens of a budget: `int(F * N * retain)`, in float64, 1 at least.

    Args:
        retain: R, 0 < R ≤ 1.
    """
    return max(1, int(frames * per_frame * retain))


def evenly(count: int, of: int) -> torch.Tensor:
    """The middles of so many equal parts of `range(of)`: `[count]`, int64, ascending."""
    return (2 * torch.arange(count) + 1) * of // (2 * max(1, count))


def shares(total: int, parts: int) -> list[int]:
    """A number in parts as equal as whole numbers can be; larger ones are spread evenly."""
    return in_proportion(total, [1] * parts)


def in_proportion(total: int, sizes: Sequence[int]) -> list[int]:
    """A number in parts that are in proportion to sizes, as far as whole numbers can be.

    Args:
        total: what the parts add up to; 0 where all sizes are.
        sizes: no part is larger than its size, unless all together are smaller than the total.
    """
    whole = max(1, sum(sizes))
    ends = [up_to * total // whole for up_to in accumulate(sizes, initial=0)]
    return [end - start for start, end in pairwise(ends)]


def shares_by(weights: torch.Tensor, total: int, most: int) -> list[int]:
    """A number in parts that are in proportion to weights, none larger than a limit.

    Whole numbers of each share, then one more for the largest remainders. What is above the limit
    goes to the parts below it, one to each in turn, the largest weight first. Ties go to the lower
    index.

    Args:
        weights: `[F]`, float, not negative; all zero counts as equal.
        total: what the parts add up to, at most F * most.
        most: the limit.
    """
    exact = weights.double().cpu()
    exact = torch.ones_like(exact) if not float(exact.sum()) else exact
    exact = exact / exact.sum() * total
    parts = exact.floor()
    largest = (exact - parts).argsort(descending=True, stable=True)
    parts[largest[: total - int(parts.sum())]] += 1
    parts.clamp_(max=most)
    in_turn = weights.cpu().argsort(descending=True, stable=True)
    while left := total - int(parts.sum()):
        parts[in_turn[parts[in_turn] < most][:left]] += 1
    return [int(part) for part in parts]


@dataclass(frozen=True)
class Budgeted(Method):
    """Methods that keep a given fraction of the visual tokens before the language model."""

    retain: Annotated[float, RETAIN] = 0.25
    positions: Positions = None

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly."""
        return budget(frames, per_frame, self.retain)

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions."""
        return settled_value(self.positions) == "renumbered"


@dataclass(frozen=True)
class FrameBudgeted(Budgeted):
    """Methods that select in each frame alone, as many tokens as the frame's share of the budget.

    With `frames_by="question"` that is DyToK's (arXiv 2512.06866, NeurIPS 2025): the language model
    reads the prompt with all visual tokens first, and in the last third of its layers the attention
    of the prompt's last token, after softmax over the visual tokens alone and averaged over heads,
    tokens of a frame and layers, is the weight of that frame.

    Differs from the authors' code (commit b12d4c6) in what reads first. There it is a smaller model
    of the same kind in the published runs (layers 16 to 23 of 24), which makes that pass cheap;
    here it is the model that answers. So it takes longer than answering without a method, and may
    answer better than an equal share.
    """

    frames_by: Annotated[Literal["equal", "question"], FRAMES_BY] = "equal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames_by == "question":
            object.__setattr__(self, "needs", (*type(self).needs, "frame_attention"))

    def tokens_of_frames(self, inputs: SelectionInputs) -> list[int]:
        """How many tokens each frame keeps; together they are the budget."""
        frames, per_frame = inputs.features.shape[:2]
        total = self.kept_tokens(frames, per_frame)
        if self.frames_by == "equal":
            return shares(total, frames)
        assert inputs.frame_attention is not None, "named in needs"
        return shares_by(inputs.frame_attention, total, per_frame)


@dataclass(frozen=True)
class FrameByFrame(FrameBudgeted):
    """Each frame keeps its share of the budget."""

    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """What `reduced` keeps of each frame."""
        assert inputs.attention is not None, "named in needs"
        assert inputs.keys is not None, "named in needs"
        per_frame = inputs.features.shape[1]
        kept, merged, into = [], [], []
        for frame, count in enumerate(self.tokens_of_frames(inputs)):
            tokens = wide(inputs.features[frame])
            of_frame = self.reduced(tokens, inputs.attention[frame], inputs.keys[frame], count)
            first = frame * per_frame
            kept.append(first + of_frame.kept)
            at = into_itself(of_frame.kept, per_frame) if of_frame.into is None else of_frame.into
            into.append(counted_on(at, first))
            merged.append(tokens[of_frame.kept] if of_frame.features is None else of_frame.features)
        return Selection(torch.cat(kept), torch.cat(merged), torch.cat(into))

    def reduced(
        self, tokens: torch.Tensor, attention: torch.Tensor, keys: torch.Tensor, count: int
    ) -> Selection:
        """The tokens kept of one frame, ascending.

        Args:
            tokens: `[N, D]`, in the widest dtype.
            attention: `[N]`, float32.
            keys: `[N, K]`, float32.
            count: how many, 0 … N.
        """
        raise NotImplementedError


MERGE_RATIO, WINDOW = 0.7, 8
"""The share of all but the first frame's tokens that is merged, and frames: of a whole window the
tower encodes 39 %."""

MERGE_STAGE = Param(
    "Where tokens are dropped: before the language model (llm), or partly in the vision tower "
    "(vision; faster, a little less accurate). In the tower dycoke drops all of its tokens, "
    "a method with a budget about six in ten."
)
MergeStage = Literal["llm", "vision"]

MERGE_DROPPED = Param(
    "Merge each dropped token into the kept one that represents it, as dycoke-plus does.",
    before=False,
)


def merged_early() -> BeforeVision:
    """The tokens that changed least since the frame before are merged into those of that frame.

    Of each window the first frame stays whole. The others are ranked together, so that a frame in
    which much is new keeps more than one that is like the last.
    """
    return BeforeVision(("changed", MERGE_RATIO, WINDOW), WINDOW, keep_changed, _frames_before)


def keep_changed(features: torch.Tensor) -> torch.Tensor:
    """The tokens that stay; of equally similar ones those that come first.

    Args:
        features: `[F, N, D]`, float; the last window may be shorter than the others.

    Returns:
        `[M]`, int64: flat indices `frame*N + position`, ascending.
    """
    per_frame, kept = features.shape[1], []
    for begin, window in zip(range(0, len(features), WINDOW), features.split(WINDOW), strict=True):
        similarity = similarity_to_frame_before(window).flatten()
        first = torch.arange(per_frame, device=features.device)
        changed = per_frame + without_lowest(-similarity, MERGE_RATIO)
        kept.append(begin * per_frame + torch.cat([first, changed]))
    return torch.cat(kept)


def _frames_before(frames: int) -> list[int | None]:
    return [frame - 1 if frame % WINDOW else None for frame in range(frames)]


@dataclass(frozen=True)
class MergingEarly(Budgeted):
    """Methods that need no more of the vision tower than its output.

    With `merge_dropped` the tokens that a method drops are merged into those that it keeps, by
    similarity and time as in `compression/coverage.py`; no author's code does it.

    With `merge_stage="vision"` tokens are merged inside the tower, the same for every method and
    budget. Behind it they are unmerged: each has the embedding of the token that it was merged
    into, and the method chooses among all of them as it does without.
    """

    merge_stage: Annotated[MergeStage, MERGE_STAGE] = "llm"
    merge_dropped: Annotated[bool, MERGE_DROPPED] = False

    def finish(self, inputs: SelectionInputs, selection: Selection) -> Selection:
        """The tokens chosen, with the others merged into them where that is asked for."""
        tokens = inputs.features.flatten(0, 1)
        is_done = len(selection.kept) == len(tokens) or selection.features is not None
        if is_done or not self.merge_dropped:
            return selection
        return merged(tokens, similarities(inputs.features), selection.kept.sort().values)

    def before_vision(self) -> BeforeVision | None:
        """What is merged there, or None where the tower encodes every token."""
        return merged_early() if self.merge_stage == "vision" else None
