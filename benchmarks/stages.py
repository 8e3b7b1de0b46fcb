"""Where the time of the vision tower and of the prefill goes: linear layers, attention, the rest.

`python -m benchmarks.stages` asks one question about a drawn clip with each method, whole and in 8
bits, with random weights. Modules are timed by hooks, each without those inside it; what is in none
of them (patches that are moved, residual sums, the selection, rotary positions) is the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
import typer
from torch import nn

from benchmarks.drawn import drawn
from benchmarks.kept_tables import keep, name_here
from benchmarks.page import where
from dycoke_cli import VideoSession, load
from dycoke_cli.compression.method_specs import parse_specs
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.kernels.linear import PackedLinear
from dycoke_cli.models.catalog import published_names
from dycoke_cli.models.load import LoadedModel

MODEL = "llava-onevision-0.5b"
METHODS = {
    "none": "nothing dropped",
    "dycoke:merge_stage=vision": "DyCoke before vision",
    "dycoke-plus:retain=0.25:merge_stage=vision": "DyCoke-plus at 25 % before vision",
}
QUESTION = "What happens in the video?"
LINEAR, ATTENTION = "linear layers", "attention"
ACTIVATIONS, NORMS, REST = "activations", "norms", "the rest"
KINDS = (LINEAR, ATTENTION, ACTIVATIONS, NORMS, REST)


class Inside:
    """Within the block, seconds in the modules of a model by kind, each without those inside it."""

    def __init__(self, model: nn.Module) -> None:
        self.seconds = dict.fromkeys(KINDS, 0.0)
        self._model = model
        # Of each module that is running: when it began, and the seconds of those inside it.
        self._running: list[list[float]] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Inside:
        for module in self._model.modules():
            if (kind := kind_of(module)) is not None:
                self._hooks.append(module.register_forward_pre_hook(self._begin))
                self._hooks.append(module.register_forward_hook(self._end_of(kind)))
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _begin(self, *called: Any) -> None:
        self._running.append([time.perf_counter(), 0.0])

    def _end_of(self, kind: str) -> Any:
        def end(*called: Any) -> None:
            begun, inside = self._running.pop()
            took = time.perf_counter() - begun
            self.seconds[kind] += took - inside
            if self._running:
                self._running[-1][1] += took

        return end


def kind_of(module: nn.Module) -> str | None:
    """What a module's own time counts as; None for modules that are made of such."""
    name = type(module).__name__
    if isinstance(module, nn.Linear | PackedLinear):
        return LINEAR
    if isinstance(module, nn.SiLU) or type(module).__module__ == "transformers.activations":
        return ACTIVATIONS
    return NORMS if name.endswith("Norm") else ATTENTION if name.endswith("Attention") else None


def stages_of(loaded: LoadedModel, spec: str, frames: int) -> dict[str, dict[str, float]]:
    """Seconds by kind, of the vision tower and of the prefill."""
    method = bind(parse_specs(spec)[0].create(), loaded.traits)
    session = VideoSession(loaded, drawn(frames), reuse=False)
    with Inside(loaded.model) as inside:
        vision = session.encode(Stopwatch(loaded.input_device), method)["vision"]
    found = {"vision": _with_rest(inside.seconds, vision)}
    with Inside(loaded.model) as inside:  # the first word alone: no step of decode
        answer = session.ask(QUESTION, method, max_new_tokens=1)
    return found | {"prefill": _with_rest(inside.seconds, answer.seconds.prefill)}


def _with_rest(seconds: Mapping[str, float], total: float) -> dict[str, float]:
    return {**seconds, REST: total - sum(seconds.values())}


def line(title: str, seconds: Mapping[str, float]) -> str:
    """Total seconds, and the share of each kind."""
    total = sum(seconds.values())
    shares = (f"{100 * seconds[kind] / total:.0f} %" for kind in KINDS)
    return f"| {title} | {total:.1f} | {' | '.join(shares)} |"


def table(lines: Iterable[str]) -> str:
    """Those lines, with their headings."""
    head = f"| stage | seconds | {' | '.join(KINDS)} |"
    return "\n".join([head, f"|---|---|{'---|' * len(KINDS)}", *lines])


def main(
    model: Annotated[str, typer.Option(help="mini, or a published configuration.")] = MODEL,
    frames: Annotated[int, typer.Option(min=4)] = 8,
    dtype: Annotated[str, typer.Option(help="As of ask.")] = "float32",
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Measure, and print the table."""
    lines, random = [], model in published_names()
    for quantize in (None, "int8"):
        loaded = load(model, random_weights=random, quantize=quantize, dtype=dtype)
        stages_of(loaded, "none", 4)  # the first answer of a process sets things up
        for spec, title in METHODS.items():
            for stage, seconds in stages_of(loaded, spec, frames).items():
                lines.append(line(f"{stage}, {title}, {quantize or dtype}", seconds))
                print(lines[-1], flush=True)
    weights = "random" if random else "its own"
    told = (
        f"`{model}`, {weights} weights, {frames} frames, {torch.get_num_threads()} threads, 1 run."
    )
    found = f"{table(lines)}\n\n{told} {where()}"
    if write:
        keep(found, name_here("stages"))
    else:
        print(found)


if __name__ == "__main__":
    typer.run(main)
