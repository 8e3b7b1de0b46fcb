"""How well `--when` finds events whose times are known, on clips of the benchmark `shapes`.

Asks about things that are there for a part of a clip, about events, and about things and events
that the clip doesn't have. Prints a Markdown table; `--write FILE` also puts it between the markers
in FILE.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.page import put, where
from dycoke_cli import DyCoke, Sampling, VideoSession, load, read
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.trace import traced_layer
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.runs.time_search import Part, TimeSearch
from dycoke_cli.runs.when import as_question, probability_of_yes, usual_window_s
from dycoke_cli.shapes.motion import track
from dycoke_cli.shapes.script import COLOURS, SHAPES, Script

NAME = "when"
METHOD = DyCoke()
SAMPLES = 2000
"""Of a clip's length, at which it is looked up what is visible."""
NEAR_S = 2.0
KINDS = {"thing": "a thing that comes or goes", "event": 'an event ("The red star enters.")'}
WAYS = {"by_search": "`--when`", "by_attention": "attention alone"}


@dataclass(frozen=True)
class Asked:
    """A question about a clip."""

    kind: str  # of the question
    clip: str  # name of the clip
    text: str  # the question, or a statement
    true: tuple[Part, ...]  # when the answer is yes, in seconds; empty where it is never


def questions(name: str, script: Script) -> Iterator[Asked]:
    """Questions about a clip: a thing and an event that it has, and one each that it lacks."""
    times = np.linspace(0, 1, SAMPLES)
    here = {(thing.colour, thing.shape) for thing in script.things}
    turned = {event.thing for event in script.events if event.deed == "turn"}
    here |= {
        (event.colour, script.things[event.thing].shape)
        for event in script.events
        if event.deed == "turn"
    }
    for index, thing in enumerate(script.things):
        found = track(script, index, times)
        visible = found.visible & ~found.hidden
        if index not in turned and visible.any() and not visible.all():
            text = f"Is there {_named(thing.colour, thing.shape)}?"
            yield Asked("thing", name, text, tuple(_parts(visible, script.seconds)))
            break
    absent = next(
        (colour, shape) for colour in COLOURS for shape in SHAPES if (colour, shape) not in here
    )
    yield Asked("thing", name, f"Is there {_named(*absent)}?", ())
    for event in script.events:
        if event.deed in ("enter", "leave") and event.thing not in turned:
            thing = script.things[event.thing]
            true = (event.begin * script.seconds, event.finish * script.seconds)
            verb = f"{event.deed}s"
            yield Asked("event", name, f"The {thing.colour} {thing.shape} {verb}.", (true,))
            yield Asked("event", name, f"The {' '.join(absent)} {verb}.", ())
            break


def _named(colour: str, shape: str) -> str:
    return f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}"


def _parts(visible: np.ndarray, seconds: float) -> list[Part]:
    """Stretches of `visible[T]` in seconds."""
    edges = np.flatnonzero(np.diff(np.pad(visible.astype(int), 1)))
    ends = edges.reshape(-1, 2) * seconds / len(visible)
    return [(float(start), float(end)) for start, end in ends]


class Clip:
    """A clip of the benchmark with the model; parts of it are asked about."""

    def __init__(self, model: LoadedModel, name: str, frames: int) -> None:
        self._model, self._path, self._frames = model, Shapes().file(name), frames
        self.asked = 0

    def session(self, part: Part | None = None) -> VideoSession:
        """A part of the clip, decoded; None for the whole."""
        start_s, end_s = part or (None, None)
        sampling = Sampling(frames=self._frames, start_s=start_s, end_s=end_s)
        return VideoSession(self._model, read(self._path, sampling), reuse=False)

    def yes(self, text: str, part: Part | None = None) -> float:
        """Probability of yes about a part of the clip."""
        self.asked += 1
        typed = TypedOptions.yes_no()
        answer = self.session(part).ask(as_question(text), METHOD, typed=typed)
        return probability_of_yes(answer)

    def attended(self, text: str) -> Part:
        """The frames about the one with most attention that have at least half of its attention.

        Of the query that generates the first token of the answer, in the layer of `inspect`.
        """
        session = self.session()
        method = bind(METHOD, self._model.traits)
        config = self._model.model.get_decoder().config
        layer = traced_layer(config, self._model.traits.defaults["prune_layer"], method)
        answer = session.ask(as_question(text), method, max_new_tokens=1, trace=layer)
        assert answer.trace is not None
        times = [*session.clip.timestamps_s, session.clip.info.duration_s]
        frames = np.array(answer.trace.kept) // session.video.tokens_per_frame
        weights = np.bincount(frames, answer.trace.steps[0].attention, len(times) - 1)
        first = last = int(weights.argmax())
        while first and weights[first - 1] >= weights.max() / 2:
            first -= 1
        while last + 1 < len(weights) and weights[last + 1] >= weights.max() / 2:
            last += 1
        return times[first], times[last + 1]


def overlap(found: Sequence[Part], true: Sequence[Part]) -> float:
    """Intersection over union of two sets of ranges, each without overlaps."""
    both = sum(max(0.0, min(b, d) - max(a, c)) for a, b in found for c, d in true)
    in_all = sum(end - start for start, end in (*found, *true))
    return both / (in_all - both) if in_all else 1.0


def is_near(found: Sequence[Part], true: Sequence[Part]) -> bool:
    """Whether there are as many ranges as true ones, and all edges are within `NEAR_S`."""
    if len(found) != len(true):
        return False
    edges = zip(found, true, strict=True)
    return all(abs(a - c) <= NEAR_S and abs(b - d) <= NEAR_S for (a, b), (c, d) in edges)


@dataclass(frozen=True)
class Found:
    """What was found for a question, and what it took."""

    asked: Asked  # the question
    by_search: tuple[Part, ...]  # the ranges of `--when`
    # the frames that the answer about the whole clip attended to most
    by_attention: tuple[Part, ...]
    parts: int  # number of parts that were asked about


def find(model: LoadedModel, asked: Asked, seconds: float, frames: int) -> Found:
    """Search a clip for what is asked."""
    clip = Clip(model, asked.clip, frames)
    search = TimeSearch(0.0, seconds, usual_window_s(seconds))
    ranges = search.ranges(lambda start_s, end_s: clip.yes(asked.text, (start_s, end_s)))
    by_search = tuple((one.start, one.end) for one in ranges)
    return Found(asked, by_search, (clip.attended(asked.text),), clip.asked)


def table(found: Sequence[Found], frames: int) -> str:
    """A row for each kind of question and each way of searching."""
    lines = [
        "| asked about | ranges from | questions | overlap | within 2 s | found in error |",
        "|---|---|---|---|---|---|",
    ]
    for kind, title in KINDS.items():
        of_kind = [one for one in found if one.asked.kind == kind]
        there = [one for one in of_kind if one.asked.true]
        absent = [one for one in of_kind if not one.asked.true]
        counts = f"{len(there)} + {len(absent)}"
        wrong = sum(bool(one.by_search) for one in absent)
        for name in ("by_search", "by_attention"):
            pairs = [(getattr(one, name), one.asked.true) for one in there]
            mean = np.mean([overlap(*pair) for pair in pairs])
            near = np.mean([is_near(*pair) for pair in pairs])
            false = f"{wrong} of {len(absent)}" if name == "by_search" else "–"
            cells = (title, WAYS[name], counts, f"{mean:.2f}", f"{100 * near:.0f} %", false)
            lines.append(f"| {' | '.join(cells)} |")
    parts = np.mean([one.parts for one in found])
    clips = len({one.asked.clip for one in found})
    return "\n".join(
        [
            *lines,
            "",
            f"Bundled model, {METHOD.name}, {frames} frames a part, windows of an eighth of the "
            f"clip; {clips} test clips of 4 to 60 s, {parts:.0f} parts asked about per question. "
            "Questions: about what is there, and about what isn't. Overlap: intersection over "
            "union with the true range, 0 where nothing is found; mean. Within 2 s: as many "
            f"ranges as true ones, each edge within {NEAR_S:g} s. Found in error: a range of what "
            f"isn't there. {where()}",
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clips", type=int, default=40, help="test clips (default: 40)")
    parser.add_argument("--frames", type=int, default=32, help="frames a part (default: 32)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model, dataset, found = load("mini"), Shapes(), list[Found]()
    for name in dict.fromkeys(item.video for item in dataset.items("test", arguments.clips)):
        script = dataset.script(name)
        for asked in questions(name, script):
            found.append(find(model, asked, script.seconds, arguments.frames))
            print(found[-1], flush=True)
    measured = table(found, arguments.frames)
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
