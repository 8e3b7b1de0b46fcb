"""What compression does to decisions: calibration and processor time by share of the tokens.

`python -m benchmarks.decisions --write` makes the table of the kept answers: of each validation
video of `shapes` its multiple-choice question, whose letters are scored as typed options.
`--ask FOLDER NAME=MODEL …` asks what the folder hasn't yet, all rows of a video in turns, and keeps
the answers; the models are `mini` and `runs/tokens-64-kept` (`python -m training kept tokens-64`).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from benchmarks.cells import head, line
from benchmarks.json_lines import append_line, read_lines, write_compressed
from benchmarks.kept_tables import DATA, keep
from benchmarks.page import machine
from dycoke_cli import Sampling, TypedOptions, VideoSession, load, read
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.generate import Stopwatch
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.scoring.statistics import shown_mean
from dycoke_cli.version import running_commit

NAME = "decisions"
KEPT = DATA / f"{NAME}.jsonl.xz"
FRAMES = 32
# Method and frames of each row; the default keeps 44 % of 16 tokens per frame, and 47 % of 64.
FEWER = {"mini": 14, "tokens-64": 15}
MERGED = "uniform-spatial:merge_dropped=true:retain=0.25"
PLUS = "dycoke-plus:retain=0.25"
LETTERS = "ABCD"
BINS = 10

Answer = dict[str, Any]
"""A line of the file: the probabilities of a question's letters by a row, and what they cost."""


def calibration_error(choices: Sequence[Answer]) -> float:
    """Expected calibration error: mean distance of probability and accuracy in bins of equal width.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (AAAI
    2015).
    """
    apart: dict[int, float] = {}
    for choice in choices:
        # An interval has its upper end; the first one has 0 as well.
        number = max(math.ceil(_confidence(choice) * BINS), 1)
        apart[number] = apart.get(number, 0.0) + _confidence(choice) - choice["right"]
    return math.fsum(map(abs, apart.values())) / len(choices)


def _confidence(choice: Answer) -> float:
    return min(max(choice["probabilities"].values()), 1.0)  # a sum may round to above 1


def rows(model: str) -> list[tuple[str, str, int]]:
    """Name, method and frames of each row of a model."""
    return [
        ("all", "none", FRAMES),
        ("`dycoke`, the default", "dycoke", FRAMES),
        ("fewer frames", "none", FEWER[model]),
        ("stride, merged", MERGED, FRAMES),
        ("`dycoke-plus`", PLUS, FRAMES),
        ("fewer frames, a quarter", "none", FRAMES // 4),
    ]


def questions() -> list[Item]:
    """The multiple-choice question of each video."""
    return [item for item in Shapes().items("validation") if item.options]


def ask(folder: Path, models: Mapping[str, str]) -> None:
    """Ask what isn't answered, video by video, and keep all that is."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{NAME}.jsonl"
    done = {(one["model"], one["item"]) for one in read_lines(file)}
    loaded = {name: load(model, dtype="float32") for name, model in models.items()}
    about = {"machine": machine(), "commit": running_commit()}
    for number, item in enumerate(questions()):
        for name, model in loaded.items():
            if (name, item.id) not in done:
                answers = _asked(model, item, rows(name), number)
                append_line(file, {"model": name, "item": item.id, "rows": answers, **about})
    write_compressed(KEPT, read_lines(file))


def _asked(model: Any, item: Item, asked: Sequence[tuple[str, str, int]], first: int) -> Answer:
    """The answers to a question by row; each row is the first one of as many videos."""
    sessions: dict[int, tuple[VideoSession, float]] = {}
    found: Answer = {}
    typed = TypedOptions(tuple(LETTERS[: len(item.options)]))
    begin = first % len(asked)
    for row, spec, frames in (*asked[begin:], *asked[:begin]):
        method = parse_spec(spec).create()
        if frames not in sessions:
            clip = read(str(Shapes().file(item.video)), Sampling(frames=frames))
            session = VideoSession(model, clip, reuse=False)
            began = time.process_time()
            session.encode(Stopwatch(model.input_device), method)
            sessions[frames] = session, time.process_time() - began
        session, vision_s = sessions[frames]
        began = time.process_time()
        answer = session.ask(item.question, method, typed=typed)
        assert isinstance(answer.probabilities, dict), "it is one of the letters"
        found[row] = {
            "probabilities": answer.probabilities,
            "right": answer.choice == item.answer,
            "visual": FRAMES * answer.tokens.visual // answer.frames.count,
            "visual_kept": answer.tokens.visual_kept,
            "vision_s": round(vision_s, 4),
            "prefill_s": round(time.process_time() - began, 4),
        }
    return found


def table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown table of all rows of all models."""
    items, shown = {item.id: item for item in questions()}, []
    asked = {model: [one for one in lines if one["model"] == model] for model in FEWER}
    asked = {model: own for model, own in asked.items() if own}
    for model, own in asked.items():
        for row, *_ in rows(model):
            answers = [{**one["rows"][row], "item": items[one["item"]]} for one in own]
            right, error = shown_mean(
                [float(one["right"]) for one in answers], [one["item"].video for one in answers]
            )
            first, prefill = (median(one[key] for one in answers) for key in _SECONDS)
            share = fmean(one["visual_kept"] / one["visual"] for one in answers)
            shown.append(
                {
                    "model": model,
                    "tokens": row,
                    "kept": f"{100 * share:.0f} %",
                    "correct, %": f"{100 * right:.1f} ± {100 * (error or 0):.1f}",
                    "ECE, points": f"{100 * calibration_error(answers):.1f}",
                    "Brier": f"{fmean(map(brier, answers)):.3f}",
                    "vision, s": f"{first:.2f}",
                    "decision, s": f"{prefill:.3f}",
                }
            )
    counts = ", ".join(f"{model} {len(own)}" for model, own in asked.items())
    notes = (
        f"Multiple-choice questions, one for each validation video of `shapes` ({counts}), "
        f"float32, {FRAMES} frames. ±: one standard error. ECE: ten "
        "bins. Brier: squared error, summed over the letters. Seconds of a processor, one thread, "
        "medians, rows in turns; other programs ran beside. Commit "
        f"{', '.join(sorted({one['commit'] for one in lines}))}, {lines[0]['machine']}."
    )
    return "\n".join([*head(*shown[0]), *(line(*cells.values()) for cells in shown), "", notes])


_SECONDS = ("vision_s", "prefill_s")


def brier(answer: Answer) -> float:
    """Squared distance of the probabilities from the correct letter, summed over the letters."""
    correct = answer["item"].answer
    each = answer["probabilities"].items()
    return sum((share - (letter == correct)) ** 2 for letter, share in each)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="also into docs/data/tables")
    parser.add_argument("--ask", type=Path, metavar="FOLDER", help="ask, and keep the answers")
    parser.add_argument("models", nargs="*", metavar="NAME=MODEL")
    given = parser.parse_args()
    if given.ask is not None:
        ask(given.ask, dict(one.split("=", 1) for one in given.models))
    made = table([*read_lines(KEPT)])
    print(made)
    if given.write:
        keep(made, NAME)
