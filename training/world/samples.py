"""The sample clips: which there are, and the files, table and questions that go with them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dycoke_cli.models.load_options import BUNDLED_FOLDER
from dycoke_cli.shapes.recording import Recording, write_clip
from dycoke_cli.shapes.script import Script
from training.world.random_scripts import ScriptLimits, draw_script
from training.world.script_questions import (
    ScriptQuestion,
    ask,
    deeds_of,
    event_clause,
    in_order,
    named,
    question_to_json,
    sentence,
)

SPLIT = "samples"
DEMO = BUNDLED_FOLDER / "demo.mp4"
USUAL = Recording(fps=12, side=256)


@dataclass(frozen=True)
class Wanted:
    """A sample clip."""

    file: str  # its name
    deeds: tuple[str, ...]  # what happens in it among other things (of DEEDS)
    events: int  # how many things happen
    seconds: float  # how long it is
    label: str = "static"  # how much changes from frame to frame (of LABELS)
    things: int = 0  # how many things there are; 0 for any number
    scenes: int = 1  # how many scenes
    quality: int = 24  # what it is encoded at; higher loses more
    how: Recording = field(default=USUAL)  # how it is recorded
    note: str = ""  # what is special about the file
    seed: int = 0  # where the search for the script begins: where it was found, which saves minutes

    def fits(self, script: Script) -> bool:
        """Whether a script shows what is wanted."""
        happening = [event.deed for event in script.events]
        return (
            all(happening.count(deed) >= self.deeds.count(deed) for deed in self.deeds)
            and len(script.things) == (self.things or len(script.things))
            and len(script.scenes) == self.scenes
            # Told once, every event can be asked about.
            and len({event_clause(script, event) for event in script.events}) == len(happening)
        )


WANTED = (
    Wanted("move.mp4", ("move",), 2, 4, note="the shortest"),
    Wanted("appear.mp4", ("enter", "show"), 3, 6),
    Wanted("vanish.mp4", ("hide", "leave"), 3, 8, "mixed", seed=148),
    Wanted("turn.mp4", ("turn", "move", "show"), 3, 10, seed=17),
    Wanted("three.mp4", ("hit", "bounce"), 4, 14, "mixed", things=3, note="three objects", seed=25),
    Wanted("phone.mp4", ("spin", "show"), 4, 12, "mixed", how=replace(USUAL, turned=90),
           note="stored turned by 90 degrees, as phones do; a display matrix turns it back",
           seed=18),
    Wanted("uneven.mp4", ("grow", "leave"), 3, 9, how=replace(USUAL, uneven=True),
           note="variable frame rate", seed=124),
    Wanted("web.webm", ("shrink", "enter"), 3, 7, quality=32, note="VP9 in WebM", seed=59),
    Wanted("minute.mp4", ("show", "move", "turn"), 6, 60, scenes=3,
           note="the longest; three scenes", seed=19),
    Wanted("large.mp4", ("bounce", "move"), 4, 16, "dynamic", quality=35,
           how=Recording(fps=24, side=512), note="512 px, a camera that never rests", seed=12),
)  # fmt: skip
DEMO_WANTED = Wanted("demo.mp4", ("turn", "move", "show"), 4, 12, seed=1)


def sample_script(wanted: Wanted) -> Script:
    """The first script of the samples' split, from the seed on, that shows what is wanted."""
    limits = ScriptLimits((wanted.events, wanted.events), wanted.scenes, labels=(wanted.label,))
    number = wanted.seed
    # Each clip tries seeds of its own, whatever becomes of the others.
    while not wanted.fits(script := draw_script([*wanted.file.encode(), number], SPLIT, limits)):
        number += 1
    camera = replace(script.camera, quality=wanted.quality)
    return replace(script, seconds=float(wanted.seconds), camera=camera)


def sample_questions(script: Script) -> list[ScriptQuestion]:
    """What every object does, what happens, and one question of each other kind."""
    kept = [
        ScriptQuestion(
            "action",
            f"What does the {named(script, k)} do?",
            sentence(f"the {named(script, k)} {deeds_of(script, k)}"),
        )
        for k in range(len(script.things))
    ]
    kept.append(ScriptQuestion("description", "What happens in the video?", describe(script)))
    seen = {question.kind for question in kept}
    for question in ask(script, np.random.default_rng(script.seed)):
        if question.kind not in seen:
            seen.add(question.kind)
            kept.append(question)
    return kept


def describe(script: Script) -> str:
    """All that happens, in order."""
    return in_order([event_clause(script, event) for event in script.events])


def write_samples(folder: Path, demo: Path = DEMO) -> list[Path]:
    """Renders all sample clips with README.md and samples.json, and the clip of `dycoke demo`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, entries, written = [], [], []
    for wanted in WANTED:
        script, path = sample_script(wanted), folder / wanted.file
        write_clip(script, wanted.how, path)
        written.append(path)
        size = f"{path.stat().st_size / 1000:.0f} kB"
        cells = (f"`{path.name}`", f"{wanted.seconds:g} s", size, describe(script), wanted.note)
        rows.append(f"| {' | '.join(cells)} |")
        asked = [question_to_json(question) for question in sample_questions(script)]
        entries.append({"file": path.name, "seconds": wanted.seconds, "questions": asked})
    script = sample_script(DEMO_WANTED)
    write_clip(script, DEMO_WANTED.how, demo)
    readme, questions = folder / "README.md", folder / "samples.json"
    readme.write_text(README.format(rows="\n".join(rows), demo=describe(script)))
    questions.write_text(json.dumps(entries, indent=1) + "\n")
    return [*written, demo, readme, questions]


README = """# Sample clips

Rendered by the project (`python -m training samples` makes them again) from scripts that the
bundled model was never trained on. `samples.json` has questions about each clip, and the correct
answers.

```
dycoke ask sample_videos/turn.mp4 "What happens in the video?"
```

| clip | length | size | what happens | what is special |
| --- | --- | --- | --- | --- |
{rows}

The clip of `dycoke demo` is inside the package. {demo}
"""
