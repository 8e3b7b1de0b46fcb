"""The sample clips: which there are, and the files, table and questions that go with them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from dycoke_cli.models.mini.questions import Question, ask, deed, describe
from dycoke_cli.models.mini.video_files import Recording, write_clip
from dycoke_cli.models.mini.world import Script, draw_script

SPLIT = "samples"
DEMO = Path(__file__).parent / "demo.mp4"
COMMAND = "python -m dycoke_cli.models.mini samples"


@dataclass(frozen=True)
class Wanted:
    """A sample clip: what its things do, how long it is, and how it is recorded."""

    how: Recording
    actions: tuple[str, ...]
    seconds: float
    note: str = ""


WANTED = (
    Wanted(Recording("move.mp4", fps=16), ("right",), 2, "the shortest"),
    Wanted(Recording("appear.mp4"), ("appear", "stay"), 4),
    Wanted(Recording("vanish.mp4"), ("vanish", "left"), 5),
    Wanted(Recording("turn.mp4"), ("turn", "up"), 6),
    Wanted(Recording("three.mp4"), ("down", "right", "turn"), 8, "three objects"),
    Wanted(Recording("phone.mp4", turned=90), ("down", "stay"), 5,
           "stored turned by 90 degrees, as phones do; a display matrix turns it back"),
    Wanted(Recording("uneven.mp4", uneven=True), ("left", "vanish"), 9, "variable frame rate"),
    Wanted(Recording("web.webm"), ("up", "turn"), 7, "VP9 in WebM"),
    Wanted(Recording("minute.mp4", fps=10), ("appear", "left", "stay"), 60, "the longest"),
    Wanted(Recording("large.mp4", fps=24, side=512), ("turn", "right"), 10, "512 px"),
)  # fmt: skip
DEMO_WANTED = Wanted(Recording("demo.mp4"), ("right", "turn"), 8)


def sample_script(wanted: Wanted, seed: int) -> Script:
    """The first script of the samples' split, from a seed on, whose things do what is wanted."""
    while True:
        script = draw_script([seed, 77], SPLIT, len(wanted.actions))
        if sorted(t.action for t in script.things) == sorted(wanted.actions):
            return replace(script, seconds=float(wanted.seconds))
        seed += 1


def sample_questions(script: Script) -> list[Question]:
    """What every object does, what happens, and one question of each other kind."""
    rng = np.random.default_rng(0)
    kept = [
        Question(
            "action",
            f"What does the {t.colour} {t.shape} do?",
            f"The {t.colour} {t.shape} {deed(t)}.",
        )
        for t in script.things
    ]
    kept.append(Question("description", "What happens in the video?", describe(script)))
    seen = {q.kind for q in kept}
    for question in ask(script, rng):
        if question.kind not in seen:
            seen.add(question.kind)
            kept.append(question)
    return kept


def write_samples(folder: Path, demo: Path = DEMO) -> list[Path]:
    """Renders all sample clips with README.md and samples.json, and the clip of `dycoke demo`.

    Args:
        folder: gets the clips, the table and the questions.
        demo: file of the demo clip.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, entries, written = [], [], []
    for i, wanted in enumerate(WANTED):
        script = sample_script(wanted, 1000 * (i + 1))
        path = folder / wanted.how.name
        write_clip(script, wanted.how, path)
        written.append(path)
        said = describe(script)
        size = f"{path.stat().st_size / 1000:.0f} kB"
        rows.append(f"| `{path.name}` | {wanted.seconds:g} s | {size} | {said} | {wanted.note} |")
        entries.append(
            {
                "file": path.name,
                "seconds": wanted.seconds,
                "questions": [asdict(q) for q in sample_questions(script)],
            }
        )
    script = sample_script(DEMO_WANTED, 500)
    write_clip(script, DEMO_WANTED.how, demo)
    readme, questions = folder / "README.md", folder / "samples.json"
    readme.write_text(README.format(command=COMMAND, rows="\n".join(rows), demo=describe(script)))
    questions.write_text(json.dumps(entries, indent=1) + "\n")
    return [*written, demo, readme, questions]


README = """# Sample clips

Rendered by the project (`{command}` makes them again) from scripts that the bundled model was
never trained on. `samples.json` has questions about each clip, and their right answers.

```
dycoke ask sample_videos/turn.mp4 "What does the red cross do?"
```

| clip | length | size | what happens | what is special |
| --- | --- | --- | --- | --- |
{rows}

The clip of `dycoke demo` is inside the package. {demo}
"""
