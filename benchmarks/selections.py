"""Times the selection before the language model: every method, beside the prefill it is paid from.

`python -m benchmarks.selections` selects from 32 and 128 frames of 196 tokens, in the widths of the
language models of LLaVA-OneVision 0.5B and 7B (Qwen2.5-VL-7B's has the 7B's sizes). The features
are those that the bundled model's tower gives of drawn clips at 224 px, turned into the wider space
without changing an angle, so that windows of 1,568 tokens have the structure of real ones; random
ones are beside them, for a greedy selection takes as long as its input makes it. Everything takes
turns, on one thread, whose processor time is measured; medians count.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transformers import AutoConfig

from benchmarks.drawn import drawn
from benchmarks.enlarged import enlarge
from benchmarks.kept_tables import keep, name_here
from benchmarks.page import where
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import METHODS, create, places
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.engine.encode import Encoded, encode_video
from dycoke_cli.models.catalog import published
from dycoke_cli.models.load import load
from dycoke_cli.models.prompts.video_prompt import make_prompt
from dycoke_cli.models.random_weights import random_model
from dycoke_cli.param import parameters_of

MODELS = ("llava-onevision-0.5b", "llava-onevision-7b")
FRAMES = (32, 128)
RETAIN = 0.25
QUESTION_TOKENS = 32


def rows() -> dict[str, Method]:
    """Every method that selects before the language model, at one budget, and ours in all ways.

    Without `earlytom`, most of which is merging inside the tower.
    """
    found: dict[str, Method] = {"`dycoke`, K=0.7": create("dycoke")}
    for name, kind in METHODS.items():
        if "retain" in parameters_of(kind) and "before the language model" in places(kind):
            method = create(name, retain=RETAIN)
            if method.merge_frames() is None:
                found[f"`{name}`"] = method
    found["`dycoke-plus`, 10 % kept"] = create("dycoke-plus", retain=0.1)
    without = create("dycoke-plus", retain=RETAIN, merge_dropped=False)
    found["`dycoke-plus`, without merging"] = without
    return found


def encoded(frames: int) -> Encoded:
    """What the bundled model's tower says of a drawn clip, 196 tokens per frame."""
    with tempfile.TemporaryDirectory() as folder:
        enlarge(Path(folder))
        loaded = load(folder, dtype="float32")
        prompt = make_prompt(loaded.processor, loaded.family, loaded.model.config, drawn(frames))
        return encode_video(loaded.model, loaded.family, prompt, with_attention=True)


def given_to(video: Encoded, frames: int, width: int) -> SelectionInputs:
    """What methods choose by, in a wider space: every angle and length as it was."""
    assert video.tower is not None
    count = video.tower.attention.shape[1]
    features = video.embeddings[: frames * count].float()
    torch.manual_seed(0)
    wider = torch.linalg.qr(torch.randn(width, features.shape[1])).Q.T
    features = (features @ wider).view(frames, count, width)
    question = torch.randn(QUESTION_TOKENS, width)
    return SelectionInputs(features, video.tower.attention, video.tower.keys, question)


def prefill_of(name: str) -> Callable[[int], float]:
    """How long the prompt of a published model takes by its tokens: one layer, times all."""
    config = AutoConfig.for_model(**published(name).config)
    text = config.get_text_config()
    layers, text.num_hidden_layers = text.num_hidden_layers, 1
    # The type of each layer is a list of its own.
    text.layer_types = text.layer_types[:1]
    decoder = random_model(config, torch.device("cpu"), torch.float32).get_decoder()

    @torch.inference_mode()
    def seconds(tokens: int) -> float:
        embeddings = torch.randn(1, tokens, text.hidden_size)
        return layers * _seconds(lambda: decoder(inputs_embeds=embeddings, use_cache=False))

    return seconds


def column(name: str, frames: int, runs: int) -> dict[str, str]:
    """The cells of a model and a number of frames, by row."""
    prefill = prefill_of(name)
    video = encoded(frames)
    width = AutoConfig.for_model(**published(name).config).get_text_config().hidden_size
    given = given_to(video, frames, width)
    unlike = SelectionInputs(torch.randn_like(given.features))
    methods = rows()
    jobs: dict[str, Callable[[], Any]] = {
        row: partial(method.choose, given) for row, method in methods.items()
    }
    jobs["`dycoke-plus`, random features"] = partial(methods["`dycoke-plus`"].choose, unlike)
    visual = given.features.shape[0] * given.features.shape[1]
    taken: dict[str, list[float]] = {row: [] for row in jobs}
    prompts: dict[int, list[float]] = {visual: [], int(visual * RETAIN): []}
    for job in jobs.values():  # the first call of each warms up
        job()
    for _ in range(runs):
        for row, job in jobs.items():
            taken[row].append(_seconds(job))
        for tokens, times in prompts.items():
            times.append(prefill(tokens + QUESTION_TOKENS))
    whole, kept = (statistics.median(times) for times in prompts.values())
    cells = {"prefill of all": f"{whole:.1f}", "prefill of 25 %": f"{kept:.1f}"}
    for row, times in taken.items():
        median = statistics.median(times)
        cells[row] = f"{median:.2f} ({100 * median / whole:.1f} %, {100 * median / kept:.1f} %)"
    return cells


@torch.inference_mode()
def _seconds(job: Callable[[], Any]) -> float:
    started = time.process_time()
    job()
    return time.process_time() - started


def table(columns: dict[tuple[str, int], dict[str, str]]) -> str:
    """A line for each method, a column for each model and number of frames."""
    names = " | ".join(f"{model}, {196 * frames:,} tokens" for model, frames in columns)
    lines = [f"| seconds | {names} |", f"|---|{'---|' * len(columns)}"]
    first = next(iter(columns.values()))
    lines += [
        f"| {row} | {' | '.join(cells[row] for cells in columns.values())} |" for row in first
    ]
    return "\n".join(lines)


def main(
    model: Annotated[list[str] | None, typer.Option(help="Published models; repeat it.")] = None,
    frames: Annotated[list[int] | None, typer.Option(min=4, help="Repeat it.")] = None,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Measure, and print the table."""
    torch.set_num_threads(1)
    columns: dict[tuple[str, int], dict[str, str]] = {}
    counts: Sequence[int] = frames or FRAMES
    for name in model or MODELS:
        for count in counts:
            columns[name, count] = column(name, count, runs)
            print(table({(name, count): columns[name, count]}), flush=True)
    found = (
        f"{table(columns)}\n\nIn brackets: of the prefill of all visual tokens, and of 25 % of "
        f"them. Float32, processor time of one thread, medians of {runs} runs in turns. {where()}"
    )
    if write:
        keep(found, name_here("selections"))
    else:
        print(found)


if __name__ == "__main__":
    typer.run(main)
