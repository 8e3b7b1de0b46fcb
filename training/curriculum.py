"""The curriculum, and the numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from training.batches import Shape
from training.world.random_scripts import ScriptLimits

NO_EVENTS = (0, 0)
# With few frames an event must take longer to be seen at all.
IN_8, IN_16 = 0.34, 0.18

# Every other picture shows a card.
VISION_ONLY = Shape(
    videos=120,
    frames=1,
    text=0,
    vision_only=True,
    limits=ScriptLimits((1, 1), shortest=0.5),
    out_of_domain=0.04,
)
NO_QUESTIONS_8 = Shape(videos=28, frames=8, text=0, limits=ScriptLimits((1, 2), 2, shortest=IN_8))
NO_QUESTIONS_16 = Shape(
    videos=14, frames=16, text=0, limits=ScriptLimits((1, 4), 2, shortest=IN_16)
)
NO_QUESTIONS_32 = Shape(videos=8, frames=32, text=0)
# Single frames are for names and places: many pictures, few questions.
SINGLE_FRAME = Shape(
    videos=40, frames=1, text=144, limits=ScriptLimits(NO_EVENTS, 1), out_of_domain=0.03,
    first=("position", "letter"),
)  # fmt: skip
FRAMES_8 = Shape(videos=14, frames=8, text=256, limits=ScriptLimits((1, 2), 2, shortest=IN_8))
FRAMES_16 = Shape(videos=8, frames=16, text=320, limits=ScriptLimits((1, 4), 2, shortest=IN_16))
# What takes several events to answer is asked first, so that it is asked twice where there is room.
HARD = ("order", "letter", "description", "follow-up", "action")
FRAMES_32 = Shape(videos=5, frames=32, text=416, first=HARD)
# Frame dropout, as where nothing moved: an earlier frame is to be found wherever it is.
FRAMES_14_OF_32 = Shape(videos=8, frames=14, text=320, grid=32, first=HARD)
FRAMES_22_OF_32 = Shape(videos=6, frames=22, text=352, grid=32, first=HARD)


@dataclass(frozen=True)
class Stage:
    """One stage of the curriculum."""

    name: str  # what it is called in reports
    shapes: tuple[tuple[Shape, float], ...]  # the batches it draws from, with their shares
    # it is over when the running share of correct answers, as the mean over the kinds of questions,
    # reaches this (0-1; above 1: never)
    pass_mark: float
    latest: float  # it is over at this share of all steps at the latest

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

Begun = Literal["", "checkpoint", "run"]


@dataclass(frozen=True)
class Recipe:
    """The numbers of a training run."""

    steps: int = 12_000  # how many there are; the learning rate falls to zero with the last of them
    seed: int = 2  # of weights and batches
    muon_lr: float = 0.016  # of the matrices of the transformer layers (Muon)
    adam_lr: float = 2e-3  # of everything else (AdamW)
    weight_decay: float = 0.01  # of the matrices
    scale: float = 1.0  # share of the learning rates of model and probes that the model starts with
    # steps before the model learns, so that fresh probes can't spoil what it knows
    probes_first: int = 0
    warmup: int = 30  # steps over which the learning rates rise, the model's from `probes_first` on
    # power of the share of steps left, with which it falls from the start on: from a rate that
    # stays high the vision tower forgets shapes while the rest learns to use them
    fall: float = 1.5
    seeing: float = 1.0  # weight of the auxiliary loss behind the projector, next to the answers
    knowing: float = 0.3  # weight of those inside the language model, on facts of the clip
    judging: float = 1.0  # weight of the one on a question's true and false claims
    placing: float = 0.5  # weight of those on which event is named, and which is asked for
    clip: float = 1.0  # largest norm of a gradient
    dropout: bool = True  # whether there is any visual-token dropout and frame dropout
    # what the model's weights come from: nothing, a checkpoint, or another run's state, which has
    # the probes and the optimizers' moments too
    begun: Begun = ""
    curriculum: tuple[Stage, ...] = field(default=CURRICULUM)  # the stages in order

    def going_on(self, begun: Begun) -> Recipe:
        """The recipe of a run that begins with what another one has learned.

        The last two stages, the first of them for less than a third of the steps; half the learning
        rate, or less, which falls in a straight line, as in the runs behind the shipped weights.
        From a checkpoint the fresh probes learn first.
        """
        if not begun:
            return self
        first, *last = self.curriculum[-2:]
        stages = (replace(first, latest=0.3), *last)
        now = replace(self, begun=begun, fall=1.0, curriculum=stages)
        if begun == "checkpoint":
            return replace(now, scale=0.5, probes_first=120, warmup=60)
        return replace(now, scale=0.3, warmup=20)

    def stage(self, index: int) -> Stage:
        """A stage of the curriculum as this run has it."""
        stage = self.curriculum[index]
        if self.dropout:
            return stage
        shapes = tuple((shape.without_dropout(), share) for shape, share in stage.shapes)
        return replace(stage, shapes=shapes)

    def rate(self, step: int) -> float:
        """What the model's learning rates are multiplied with at a step, 0-1."""
        return self.scale * self._rise(step - self.probes_first) * self._left(step)

    def probe_rate(self, step: int) -> float:
        """The same for the probes, which learn from the first step on."""
        return self._rise(step) * self._left(step)

    def _rise(self, step: int) -> float:
        return min(1.0, max(0, step + 1) / self.warmup)

    def _left(self, step: int) -> float:
        return float((1 - step / self.steps) ** self.fall)
