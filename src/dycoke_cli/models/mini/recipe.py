"""How the bundled model is trained: the curriculum and the numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dycoke_cli.models.mini.batches import Shape

# Batches of about equal cost. Drawn at 64 px, at times at 128 px and scaled by the processor.
EYES = Shape(videos=48, frames=4, text=0, eyes_only=True)
# Single frames are for the eyes and for names: many pictures, few questions. Of one thing alone its
# shape is always asked, for that is what is learned last.
ALONE = Shape(videos=48, frames=1, text=64, things=(0.8, 0.2, 0.0), first=("shape",))
STILL = Shape(videos=36, frames=1, text=104)
FEW = Shape(videos=20, frames=4, text=160, things=(0.65, 0.3, 0.05))
FOUR = Shape(videos=20, frames=4, text=160)
# Without questions, for the reading of `memory` alone.
FOUR_SILENT = Shape(videos=40, frames=4, text=0)
EIGHT_SILENT = Shape(videos=24, frames=8, text=0)
LONG_SILENT = Shape(videos=8, frames=32, text=0)
# Which of several things is meant: the words in the question must find the thing.
WHICH = Shape(videos=44, frames=1, text=64, things=(0.2, 0.5, 0.3), first=("place",))
# Descriptions take the most room; here the questions about one thing come first.
ASKING = Shape(videos=20, frames=4, text=160, first=("place", "action", "existence"))
# Frames that are missing, as where nothing moved: an earlier one is to be found wherever it is.
SOME_OF_32 = Shape(videos=8, frames=12, text=112, grid=32, first=("action", "place"))
MOST_OF_32 = Shape(videos=5, frames=20, text=112, grid=32)
EIGHT = Shape(videos=16, frames=8, text=160)
SIXTEEN = Shape(videos=10, frames=16, text=160)
THIRTY_TWO = Shape(videos=6, frames=32, text=160)


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
    Stage("eyes", ((EYES, 1.0),), 0.75, 0.14),
    Stage("one still thing", ((ALONE, 1.0),), 0.85, 0.17),
    Stage("stills", ((STILL, 1.0),), 0.85, 0.26),
    Stage("memory", ((FOUR_SILENT, 0.6), (EIGHT_SILENT, 0.25), (LONG_SILENT, 0.15)), 0.7, 0.39),
    Stage("questions", ((FEW, 0.75), (EIGHT, 0.1), (EYES, 0.15)), 0.8, 0.54),
    Stage(
        "up to 32",
        (
            (FOUR, 0.4),
            (EIGHT, 0.15),
            (SIXTEEN, 0.12),
            (THIRTY_TWO, 0.13),
            (LONG_SILENT, 0.1),
            (EYES, 0.1),
        ),
        0.9,
        0.72,
    ),
    Stage(
        "all of it",
        ((WHICH, 0.2), (ASKING, 0.45), (FOUR, 0.15), (EIGHT, 0.1), (THIRTY_TWO, 0.1)),
        1.1,
        0.95,
    ),
    Stage(
        "gaps",
        ((SOME_OF_32, 0.55), (MOST_OF_32, 0.2), (ASKING, 0.15), (THIRTY_TWO, 0.1)),
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
        warmdown: share of the steps over which it falls, at the end.
        eyes: weight of the vision tower's own lesson next to the answers.
        memory: weight of the reading of `memory` next to the answers.
        clip: largest norm of a gradient.
        curriculum: the lessons in order.
    """

    steps: int = 4100
    seed: int = 1
    muon_lr: float = 0.02
    adam_lr: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 30
    warmdown: float = 0.2
    eyes: float = 1.0
    memory: float = 0.5
    clip: float = 1.0
    curriculum: tuple[Stage, ...] = field(default=CURRICULUM)

    def rate(self, step: int) -> float:
        """What the learning rates are multiplied with at a step, 0-1."""
        falling = (self.steps - step) / max(1.0, self.steps * self.warmdown)
        return max(0.0, min(1.0, (step + 1) / self.warmup, falling))
