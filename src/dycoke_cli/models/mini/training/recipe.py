"""The curriculum and the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from dycoke_cli.models.mini.training.batches import Shape
from dycoke_cli.shapes.world.director import Limits

NO_EVENTS = (0, 0)
EASY = ("static", "mixed")
# With few frames an event must take longer to be seen at all.
IN_8, IN_12, IN_16 = 0.34, 0.24, 0.18

# Every other picture shows a card.
EYES = Shape(
    videos=120, frames=1, text=0, eyes_only=True, limits=Limits((1, 1), shortest=0.5), foreign=0.04
)
SILENT_8 = Shape(videos=28, frames=8, text=0, limits=Limits((1, 2), 2, shortest=IN_8))
SILENT_16 = Shape(videos=14, frames=16, text=0, limits=Limits((1, 4), 2, shortest=IN_16))
SILENT_32 = Shape(videos=8, frames=32, text=0)
# Single frames are for names and places: many pictures, few questions.
STILL = Shape(
    videos=40, frames=1, text=144, limits=Limits(NO_EVENTS, 1), foreign=0.03,
    first=("position", "letter"),
)  # fmt: skip
EIGHT = Shape(videos=14, frames=8, text=256, limits=Limits((1, 2), 2, shortest=IN_8))
SIXTEEN = Shape(videos=8, frames=16, text=320, limits=Limits((1, 4), 2, shortest=IN_16))
# What takes several events to answer is asked first, so that it is asked twice where there is room.
HARD = ("order", "letter", "description", "follow-up", "action")
THIRTY_TWO = Shape(videos=5, frames=32, text=416, first=HARD)
# Frames that are missing, as where nothing moved: an earlier one is to be found wherever it is.
SOME_OF_32 = Shape(videos=8, frames=14, text=320, grid=32, first=HARD)
MOST_OF_32 = Shape(videos=6, frames=22, text=352, grid=32, first=HARD)


def some(shape: Shape, overlooked: float) -> Shape:
    """The same where up to this share of each frame's tokens is seen by no other."""
    return replace(shape, overlooked=overlooked)


@dataclass(frozen=True)
class Stage:
    """One lesson.

    Attributes:
        name: what it is called in reports.
        shapes: the batches it draws from, with their shares.
        pass_mark: it is over when the running share of right answers, as the mean over the kinds
            of questions, reaches this (0-1; above 1: never).
        latest: it is over at this share of all steps at the latest.
    """

    name: str
    shapes: tuple[tuple[Shape, float], ...]
    pass_mark: float
    latest: float

    def shape(self, rng: np.random.Generator) -> Shape:
        """The shape of the next batch."""
        shares = np.array([share for _, share in self.shapes])
        return self.shapes[int(rng.choice(len(shares), p=shares / shares.sum()))][0]


CURRICULUM = (
    Stage("eyes", ((EYES, 1.0),), 0.8, 0.05),
    Stage(
        "what happened",
        ((SILENT_8, 0.4), (SILENT_16, 0.2), (SILENT_32, 0.15), (EYES, 0.25)),
        0.8,
        0.17,
    ),
    Stage(
        "first questions",
        ((EIGHT, 0.6), (STILL, 0.15), (SIXTEEN, 0.15), (SILENT_32, 0.1)),
        0.7,
        0.27,
    ),
    Stage(
        "all of it",
        ((EIGHT, 0.15), (SIXTEEN, 0.2), (some(THIRTY_TWO, 0.4), 0.35), (SOME_OF_32, 0.15),
         (STILL, 0.15), (EYES, 0.08)),
        1.1,
        0.6,
    ),
    Stage(
        "as it is used",
        ((some(THIRTY_TWO, 1.0), 0.6), (some(SOME_OF_32, 0.3), 0.08), (some(MOST_OF_32, 0.7), 0.09),
         (SIXTEEN, 0.12), (STILL, 0.07), (EYES, 0.04)),
        1.1,
        1.0,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training run.

    Attributes:
        steps: how many there are; the learning rate falls to zero with the last of them.
        seed: of weights and batches.
        muon_lr: of the matrices of the transformer layers (Muon).
        adam_lr: of everything else (AdamW).
        weight_decay: of the matrices.
        warmup: steps over which the learning rate rises.
        fall: power of the share of steps left, with which it falls from the start on: from a
            rate that stays high the eyes forget shapes while the rest learns to use them.
        seeing: weight of the facts read behind the projector, next to the answers.
        knowing: weight of the facts read inside the language model.
        placing: weight of telling which event is named, and which is asked for.
        judging: weight of telling a question's true claims from false ones.
        clip: largest norm of a gradient.
        curriculum: the lessons in order.
    """

    steps: int = 12_000
    seed: int = 2
    muon_lr: float = 0.016
    adam_lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 30
    fall: float = 1.5
    seeing: float = 1.0
    knowing: float = 0.3
    judging: float = 1.0
    placing: float = 0.5
    clip: float = 1.0
    curriculum: tuple[Stage, ...] = field(default=CURRICULUM)

    def rate(self, step: int) -> float:
        """What the learning rates are multiplied with at a step, 0-1."""
        return min(1.0, (step + 1) / self.warmup) * (1 - step / self.steps) ** self.fall
