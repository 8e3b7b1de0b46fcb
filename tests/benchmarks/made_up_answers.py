"""Answers to the tables of methods that were made up: no model is asked."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from benchmarks import methods
from benchmarks.methods import Run, evaluation_of
from dycoke_cli.evaluation.method_row import KeptRow, kept_rows
from dycoke_cli.evaluation.prediction import Prediction, open_answers
from dycoke_cli.models.resolve import resolve_model

VIDEOS = 2


def arguments(out: Path, name: str = "shipped") -> argparse.Namespace:
    return argparse.Namespace(
        out=out, name=name, model="mini", videos=VIDEOS, workers=1,
        dtype=methods.DTYPE,
    )  # fmt: skip


def made_up(row: KeptRow, item: Any, number: int, draw: random.Random) -> Prediction:
    """An answer that is the likelier wrong, the less is kept."""
    kept = row.method.kept_tokens(32, 16) / 512
    right = draw.random() < 0.4 + 0.55 * kept
    return Prediction(
        item=item.id,
        said=item.answer if right else "Something else.",
        right=right,
        parts={"told": 1.0, "ordered": 0.5} if item.kind == "description" else {},
        visual=512,
        visual_kept=int(512 * kept),
        visual_active=512 * kept,
        generated=5,
        seconds=0.5,
        bytes=2_000_000,
        visual_read=512 * kept,
        seconds_prefill=0.3 if number == 0 else 0.01,
        seconds_decode=0.2,
    )


def fill(run: Run, given: argparse.Namespace, videos: int = VIDEOS) -> None:
    """Put an answer to every question of a run into its journal."""
    evaluation = evaluation_of(run, given)
    rows, _ = kept_rows(evaluation, resolve_model("mini", evaluation.request.loading))
    items = evaluation.dataset.items(run.split, videos)
    with open_answers(given.out / given.name) as journal:
        for row in rows:
            draw = random.Random(row.spec.text)
            there = {*journal.predictions(row.setup)}
            for number, item in enumerate(items):
                if item.id not in there:
                    journal.add(row.setup, made_up(row, item, number % 8, draw), "abc1234")
