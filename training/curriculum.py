"""The curriculum, and the numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from training.batches import Shape
from training.world.scripts import Limits

NO_EVENTS = (0, 0)
# With few frames an event must take longer to be seen at all.
IN_8, IN_16 = 0.34, 0.18

# Every other picture shows a card.
VISION_ONLY = Shape(
    videos=120,
    frames=1,
    text=0,
    vision_only=True,
    limits=Limits((1, 1), shortest=0.5),
    out_of_domain=0.04,
)
NO_QUESTIONS_8 = Shape(videos=28, frames=8, text=0, limits=Limits((1, 2), 2, shortest=IN_8))
NO_QUESTIONS_16 = Shape(videos=14, frames=16, text=0, limits=Limits((1, 4), 2, shortest=IN_16))
NO_QUESTIONS_32 = Shape(videos=8, frames=32, text=0)
# Single frames are for names and places: many pictures, few questions.
SINGLE_FRAME = Shape(
    videos=40, frames=1, text=144, limits=Limits(NO_EVENTS, 1), out_of_domain=0.03,
    first=("position", "letter"),
)  # fmt: skip
FRAMES_8 = Shape(videos=14, frames=8, text=256, limits=Limits((1, 2), 2, shortest=IN_8))
FRAMES_16 = Shape(videos=8, frames=16, text=320, limits=Limits((1, 4), 2, shortest=IN_16))
# What takes several events to answer is asked first, so that it is asked twice where there is room.
HARD = ("order", "letter", "description", "follow-up", "action")
FRAMES_32 = Shape(videos=5, frames=32, text=416, first=HARD)
# Frame dropout, as where nothing moved: an earlier frame is to be found wherever it is.
FRAMES_14_OF_32 = Shape(videos=8, frames=14, text=320, grid=32, first=HARD)
FRAMES_22_OF_32 = Shape(videos=6, frames=22, text=352, grid=32, first=HARD)


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum.

    Attributes:
        name: what it is called in reports.
        shapes: the batches it draws from, with their shares.
        pass_mark: it is over when the running share of correct answers, as the mean over the kinds
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
    Stage("vision tower", ((VISION_ONLY, 1.0),), 0.8, 0.05),
    Stage(
        "no questions",
        (
            (NO_QUESTIONS_8, 0.4),
            (NO_QUESTIONS_16, 0.2),
            (NO_QUESTIONS_32, 0.15),
            (VISION_ONLY, 0.25),
        ),
        0.8,
        0.17,
    ),
    Stage(
        "8 frames",
        ((FRAMES_8, 0.6), (SINGLE_FRAME, 0.15), (FRAMES_16, 0.15), (NO_QUESTIONS_32, 0.1)),
        0.7,
        0.27,
    ),
    Stage(
        "8 to 32 frames",
        (
            (FRAMES_8, 0.15),
            (FRAMES_16, 0.2),
            (replace(FRAMES_32, token_dropout=0.4), 0.35),
            (FRAMES_14_OF_32, 0.15),
            (SINGLE_FRAME, 0.15),
            (VISION_ONLY, 0.08),
        ),
        1.1,
        0.6,
    ),
    Stage(
        "32 frames",
        (
            (replace(FRAMES_32, token_dropout=1.0), 0.6),
            (replace(FRAMES_14_OF_32, token_dropout=0.3), 0.08),
            (replace(FRAMES_22_OF_32, token_dropout=0.7), 0.09),
            (FRAMES_16, 0.12),
            (SINGLE_FRAME, 0.07),
            (VISION_ONLY, 0.04),
        ),
        1.1,
        1.0,
    ),
)


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
            rate that stays high the vision tower forgets shapes while the rest learns to use them.
        seeing: weight of the auxiliary loss behind the projector, next to the answers.
        knowing: weight of those inside the language model, on facts of the clip.
        placing: weight of those on which event is named, and which is asked for.
        judging: weight of the one on a question's true and false claims.
        clip: largest norm of a gradient.
        curriculum: the stages in order.
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
