"""Draws scripts: how many scenes and events, how long, and how it is filmed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dycoke_cli.shapes.world.script import Camera, Event, Scene, Script
from dycoke_cli.shapes.world.stage import Stage
from dycoke_cli.shapes.world.timeline import SHORTEST, draw_timeline
from dycoke_cli.shapes.world.vocabulary import LABELS, NAMES, TEXTURES, TONES

SEED_LIMIT = 2**31
NEEDLE_SHARE = 0.5
LABEL_SHARES = {"static": 0.3, "mixed": 0.3, "dynamic": 0.4}
SCENE_SHARES = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class Limits:
    """What a script may hold.

    Attributes:
        events: least and most events.
        scenes: most scenes.
        things: shares of scenes that begin with one, two, … things.
        labels: of LABELS, which may be drawn.
        shortest: what an event takes at least, as a share of the clip.
    """

    events: tuple[int, int] = (2, 6)
    scenes: int = 3
    things: tuple[float, ...] = (0.35, 0.4, 0.25)
    labels: tuple[str, ...] = LABELS
    shortest: float = SHORTEST


def draw_script(seed: int | list[int], split: str, limits: Limits | None = None) -> Script:
    """The script of a seed: the first one drawn that belongs to the split.

    Args:
        seed: anything that `numpy.random.default_rng` takes.
        split: one of SPLITS.
        limits: what it may hold.
    """
    rng = np.random.default_rng(seed)
    while True:
        script = _draw(rng, limits or Limits())
        if script is not None and script.split() == split:
            return script


def _draw(rng: np.random.Generator, limits: Limits) -> Script | None:
    """One script; None where nothing more could happen in a scene."""
    count = int(rng.integers(limits.events[0], limits.events[1] + 1))
    scenes = min(int(rng.choice(3, p=SCENE_SHARES)) + 1, limits.scenes, max(1, count))
    # Which scene each event is in: every scene has one at least.
    drawn = rng.integers(0, scenes, size=max(0, count - scenes))
    inside = sorted([*range(scenes), *drawn.tolist()])[:count]
    slots, cuts = draw_timeline(inside, scenes, rng, limits.shortest)
    needle = int(rng.integers(count)) if count and rng.random() < NEEDLE_SHARE else -1
    stage = Stage(rng)
    events: list[Event] = []
    for i in range(max(1, count)):
        if i == 0 or inside[i] != inside[i - 1]:
            stage.open(inside[i] if inside else 0, limits.things)
        if count:
            event = stage.show(slots[i]) if i == needle else stage.act(slots[i])
            if event is None:
                return None
            events.append(event)
    shares = np.array([LABEL_SHARES[label] for label in limits.labels])
    label = str(rng.choice(limits.labels, p=shares / shares.sum()))
    named = rng.permutation(len(stage.things))[:2]
    names = rng.permutation(NAMES)
    return Script(
        things=tuple(stage.things),
        events=tuple(events),
        scenes=tuple(_scene(b, f, label, rng) for b, f in pairwise(cuts)),
        camera=_camera(label, rng),
        label=label,
        seconds=_seconds(rng),
        names=tuple((str(n), int(i)) for n, i in zip(names, named, strict=False)),
        seed=int(rng.integers(SEED_LIMIT)),
    )


def _scene(begin: float, finish: float, label: str, rng: np.random.Generator) -> Scene:
    tone = str(rng.choice(TONES))
    texture = str(rng.choice(TEXTURES[1:] if label == "dynamic" else TEXTURES))
    contrast, seed = float(rng.uniform(14, 34)), int(rng.integers(SEED_LIMIT))
    return Scene(begin, finish, tone, texture, contrast, seed)


def _camera(label: str, rng: np.random.Generator) -> Camera:
    quality = int(rng.choice([18, 24, 30, 35]))
    way = rng.choice([-1, 1], size=2)
    if label == "static":
        return Camera((0.0, 0.0), 0.0, float(rng.choice([0.0, 2.0])), quality)
    if label == "mixed":
        # Half of them are held by hand over a still background, half pan slowly.
        pan = way * rng.uniform(0.1, 0.5, size=2) * rng.integers(0, 2)
        shake, noise = rng.uniform(0.004, 0.012), rng.uniform(0, 5)
    else:
        pan = way * rng.uniform(1.0, 3.0, size=2)
        shake, noise = rng.uniform(0.008, 0.02), rng.uniform(3, 10)
    return Camera((float(pan[0]), float(pan[1])), float(shake), float(noise), quality)


def _seconds(rng: np.random.Generator) -> float:
    """Half of the clips are 30 s or longer."""
    span = (30, 60) if rng.random() < 0.5 else (4, 30)
    return float(np.round(rng.uniform(*span), 1))
