"""Servers under load: no method against each, 1, 8 and 32 requests at once.

`python -m benchmarks.serving` starts `dycoke serve` with the bundled model. With `--server vllm`,
and the Python of an environment that has vLLM and the plug-in (plugins/vllm/tests/environment.py
makes one: `runs/vllm/bin/python`), it starts `vllm serve`. `--model llava-onevision-0.5b` is a
model of that shape with random weights. Each request has a video of its own. Methods take turns, so
that other work on the machine hits all alike. An interrupted run resumes; what is measured goes to
docs/data/serving.jsonl.xz. `--report` makes the tables of that file, and measures nothing;
`--write` puts them into docs/serve.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.kept_tables import keep
from benchmarks.page import ROOT
from benchmarks.raw_answers import DATA, SUFFIX
from benchmarks.serving.checkpoints import BUNDLED
from benchmarks.serving.measuring import Course, measure
from benchmarks.serving.rows import add_rows, read_rows
from benchmarks.serving.table import BASELINE, circumstances, table

RUN = ROOT / "runs" / "serving"
RAW = DATA / f"serving{SUFFIX}"
SPECS = (
    "ttm", "evs:retain=0.25", "random:retain=0.25", "vidcom2:retain=0.25",
    "v-cast:retain=0.25", "dart:retain=0.25", "dycoke-plus:retain=0.25",
    "uniform-frames:retain=0.25", "uniform-spatial:retain=0.25",
)  # fmt: skip


def main(
    server: Annotated[str, typer.Option(help="dycoke or vllm.")] = "dycoke",
    model: Annotated[
        str, typer.Option(help="mini, or a LLaVA-OneVision, whose shape is taken.")
    ] = BUNDLED,
    spec: Annotated[list[str] | None, typer.Option(help="In place of all methods.")] = None,
    at_once: Annotated[list[int] | None, typer.Option(min=1, help="Requests in flight.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Requests for each in flight.")] = 1,
    fewest: Annotated[int, typer.Option(min=1, help="Requests, whatever is in flight.")] = 24,
    frames: Annotated[int, typer.Option(min=1)] = 32,
    tokens: Annotated[int, typer.Option(min=2, help="Of an answer.")] = 16,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    dtype: Annotated[str, typer.Option(help="As the server takes it.")] = "auto",
    gpu: Annotated[bool, typer.Option("--gpu", help="vLLM runs on one.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of what is measured.")] = RUN,
    raw: Annotated[Path, typer.Option(help="File that the rows are put into.")] = RAW,
    report: Annotated[bool, typer.Option("--report", help="Measure nothing.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Measure, and print the tables."""
    if not report:
        out.mkdir(parents=True, exist_ok=True)
        specs = (BASELINE, *(spec or SPECS))
        counts = tuple(at_once or (1, 8, 32))
        course = Course(
            model,
            specs,
            counts,
            rounds,
            fewest,
            frames,
            tokens,
            runs,
            dtype,
            gpu=gpu,
            server=server,
        )
        measure(course, out / "rows.jsonl")
        add_rows(out / "rows.jsonl", raw)
    for name, rows in read_rows(raw).items():
        text = f"{table(rows)}\n\n{circumstances(rows)}"
        print(f"{name}\n\n{text}\n")
        if write:
            keep(text, f"serving-{name}")


if __name__ == "__main__":
    typer.run(main)
