"""Draws scripts: how many scenes and events, when they happen, and how it is filmed.

Scripts are split by what they say, not by their seed: the hash of the symbolic content decides
whether a script belongs to training, validation, test or the sample clips. Two scripts of
different splits therefore never say the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from dycoke_cli.shapes.script import (
    LABELS,
    NAMES,
    TEXTURES,
    TONES,
    Camera,
    Event,
    Scene,
    SceneState,
    Script,
)

SPLITS = {"train": range(0, 88), "validation": range(88, 92), "test": range(92, 96),
          "samples": range(96, 100)}  # fmt: skip
# Numbers are stored to so many decimals: a ten thousandth of a picture's side, or of a clip.
DECIMALS = 4
SEED_LIMIT = 2**31
NEEDLE_SHARE = 0.5
LABEL_SHARES = {"static": 0.3, "mixed": 0.3, "dynamic": 0.4}
SCENE_SHARES = (0.6, 0.3, 0.1)
# Two intervals of 32 evenly spread frames are 2/31 of a clip, and each event takes more.
SHORTEST = 0.085
# No event takes longer than this many of the shortest.
LONGEST = 2.6
# Rest between two events; about a cut there is one on both sides.
REST, CUT_REST = 0.025, 0.08
LAST = 0.965
# Of a long video: seconds that an event takes at least, and seconds in which a background scrolls
# by as far as in one of the others.
LONG_SHORTEST_S, LONG_PAN_S = 3.0, 30.0


@dataclass(frozen=True)
class ScriptLimits:
    """What a script may hold."""

    events: tuple[int, int] = (2, 6)  # least and most events
    scenes: int = 3  # most scenes
    # shares of scenes that begin with one, two, … things
    things: tuple[float, ...] = (0.35, 0.4, 0.25)
    labels: tuple[str, ...] = LABELS  # of LABELS, which may be drawn
    shortest: float = SHORTEST  # what an event takes at least, as a share of the clip
    # length in seconds of a long video, whose events are few and short; 0 for clips of up to a
    # minute
    long_s: int = 0


def long_limits(seconds: int, labels: tuple[str, ...] = LABELS) -> ScriptLimits:
    """What a long video may hold: three to six events of 3 to 8 seconds, anywhere in it."""
    return ScriptLimits((3, 6), labels=labels, shortest=LONG_SHORTEST_S / seconds, long_s=seconds)


def draw_script(seed: int | list[int], split: str, limits: ScriptLimits | None = None) -> Script:
    """The script of a seed: the first one drawn that belongs to the split."""
    rng = np.random.default_rng(seed)
    while True:
        script = _draw(rng, limits or ScriptLimits())
        if script is not None and split_of(script) == split:
            return script


def _draw(rng: np.random.Generator, limits: ScriptLimits) -> Script | None:
    """One script; None where nothing more could happen in a scene."""
    count = int(rng.integers(limits.events[0], limits.events[1] + 1))
    scenes = min(int(rng.choice(3, p=SCENE_SHARES)) + 1, limits.scenes, max(1, count))
    # Which scene each event is in: every scene has one at least.
    drawn = rng.integers(0, scenes, size=max(0, count - scenes))
    inside = sorted([*range(scenes), *drawn.tolist()])[:count]
    slots, cuts = draw_timeline(inside, rng, limits.shortest, sparse=limits.long_s > 0)
    needle = int(rng.integers(count)) if count and rng.random() < NEEDLE_SHARE else -1
    stage = SceneState(rng)
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
        camera=_camera(label, rng, limits.long_s),
        label=label,
        seconds=float(limits.long_s) or _seconds(rng),
        names=tuple((str(n), int(i)) for n, i in zip(names, named, strict=False)),
        seed=int(rng.integers(SEED_LIMIT)),
    )


def _scene(begin: float, finish: float, label: str, rng: np.random.Generator) -> Scene:
    tone = str(rng.choice(TONES))
    texture = str(rng.choice(TEXTURES[1:] if label == "dynamic" else TEXTURES))
    contrast, seed = float(rng.uniform(14, 34)), int(rng.integers(SEED_LIMIT))
    return Scene(begin, finish, tone, texture, contrast, seed)


def _camera(label: str, rng: np.random.Generator, long_s: int) -> Camera:
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
    if long_s:
        pan = pan * long_s / LONG_PAN_S
    return Camera((float(pan[0]), float(pan[1])), float(shake), float(noise), quality)


def _seconds(rng: np.random.Generator) -> float:
    """Half of the clips are 30 s or longer."""
    span = (30, 60) if rng.random() < 0.5 else (4, 30)
    return float(np.round(rng.uniform(*span), 1))


def draw_timeline(
    inside: list[int],
    rng: np.random.Generator,
    shortest: float = SHORTEST,
    *,
    sparse: bool = False,
) -> tuple[list[tuple[float, float]], list[float]]:
    """Stretches of time for events in order, one after another.

    Args:
        shortest: what an event takes at least.

    Returns:
        (begin, finish) of each event, and the edges of the scenes [scenes + 1], from 0 to 1.
    """
    count = len(inside)
    rests = [CUT_REST if i and inside[i] != inside[i - 1] else REST for i in range(count)]
    if sparse:
        takes = (shortest * rng.uniform(1, LONGEST, count)).tolist()
        spare = LAST - sum(takes) - sum(rests)
        waits = (rests + rng.dirichlet(np.full(count + 1, 0.8))[:count] * spare).tolist()
    else:
        spare = LAST - count * shortest - sum(rests)
        parts = rng.dirichlet(np.full(2 * count + 1, 0.8)) * spare
        waits = [rests[i] + parts[2 * i] for i in range(count)]
        takes = [min(shortest + parts[2 * i + 1], LONGEST * shortest) for i in range(count)]
    slots, cuts, now = [], [0.0], 0.0
    for i in range(count):
        if rests[i] == CUT_REST:
            cuts.append(now + waits[i] / 2)
        begin = now + waits[i]
        now = begin + takes[i]
        slots.append((float(begin), float(now)))
    return slots, [float(c) for c in [*cuts, 1.0]]


def content(script: Script) -> str:
    """What a script says, in a form free of times, jitter, sizes, camera and order."""
    told = [_named(script, e) for e in script.events]
    cast = sorted(f"{t.scene},{t.colour},{t.shape},{t.cell}" for t in script.things)
    return ";".join([*(s.tone for s in script.scenes), "|", *cast, "|", *told])


def split_of(script: Script) -> str:
    """The split that a script belongs to."""
    bucket = int(hashlib.sha256(content(script).encode()).hexdigest(), 16) % 100
    return next(name for name, buckets in SPLITS.items() if bucket in buckets)


def _named(script: Script, event: Event) -> str:
    who = [
        f"{script.things[i].colour} {script.things[i].shape}" if i >= 0 else ""
        for i in (event.thing, event.other)
    ]
    return f"{event.deed},{who},{event.way},{event.cell},{event.colour},{event.glyph}"


def to_json(script: Script) -> dict[str, Any]:
    """A script as plain data, which `from_json` reads; what has its default isn't stored."""
    data = _rounded(asdict(script))
    for event in data["events"]:
        for name, default in (("way", ""), ("colour", ""), ("glyph", ""), ("other", -1)):
            if event[name] == default:
                del event[name]
    assert isinstance(data, dict)
    return data


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(inner) for inner in value]
    return value
