"""The first steps of the model on SmolLM2, and what must be true of them.

`python -m training.tests.first_steps` runs 200 steps of the whole curriculum (an hour or more on
CPUs; an interrupted run resumes). The loss of answers about clips of the validation split falls, a
run's state has less than 30 MB, and the exported checkpoint is a stock one that `dycoke ask` takes.
What it learned is in the run's folder `learned`; `--learned` judges that of an earlier run.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, LlavaOnevisionForConditionalGeneration

from dycoke_cli.cli.main import main as dycoke
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.batches import Shape, make_batch
from training.checkpoints import STATE, export_run, keep_learned
from training.cpu_layers import has_bfloat16
from training.curriculum import Recipe, Stage
from training.objective import embed, loss_of, run_layers
from training.trainer import Progress, Trainer
from training.world.samples import DEMO

MOST_BYTES = 30_000_000
"""Of a run's state."""
HELD = Shape(videos=4, frames=8, text=256, out_of_domain=0.0)


@dataclass(frozen=True)
class Found:
    """What came of the steps."""

    before: float  # loss of answers before the first step
    after: float  # the same behind the last
    answer: dict[str, Any]  # of `dycoke ask`, without what isn't the same each time


def first_steps(
    recipe: Recipe,
    run: Path,
    held: Shape = HELD,
    each: Callable[[Progress, Stage], None] = lambda *_: None,
    save_every: float = 60.0,
    device: str = "cpu",
) -> Found:
    """Trains, exports, loads and asks; resumes where it was killed while it trained."""
    Trainer(recipe, run, device, BUNDLED_CHECKPOINT).run(each, save_every)
    assert (run / STATE).stat().st_size < MOST_BYTES, "the state is too large"
    keep_learned(run, run / "learned")
    return judged(recipe, run / "learned", held, device)


def judged(recipe: Recipe, learned: Path, held: Shape = HELD, device: str = "cpu") -> Found:
    """What came of weights that `keep_learned` wrote."""
    out = learned / "checkpoint"
    trainer = Trainer(recipe, learned / "none", device, BUNDLED_CHECKPOINT)
    before = held_out_loss(trainer, held)
    trainer.model.load_state_dict(torch.load(learned / STATE, weights_only=True)["model"])
    after = held_out_loss(trainer, held)
    export_run(learned, out)
    _, info = LlavaOnevisionForConditionalGeneration.from_pretrained(out, output_loading_info=True)
    assert not any(info.values()), info
    assert AutoProcessor.from_pretrained(out).video_token == "<video>"
    asked = ["ask", str(DEMO), "What happens?", "--model", str(out), "--device", "cpu", "--json"]
    with redirect_stdout(io.StringIO()) as printed:
        code = dycoke([*asked, "--frames", "4", "--max-new-tokens", "12"])
    assert code == 0, printed.getvalue()
    answer = json.loads(printed.getvalue())
    told = {key: answer[key] for key in ("answer", "tokens")}
    return Found(before, after, told)


def held_out_loss(trainer: Trainer, held: Shape) -> float:
    """Loss of the answers about clips that no training sees."""
    shape = held.for_model(trainer.architecture, trainer.recipe.side)
    batch = make_batch([0], shape, "validation", trainer.codec, trainer.video_processor)
    batch, device = batch.to(trainer.device), trainer.device.type
    with (
        torch.no_grad(),
        torch.autocast(device, torch.bfloat16, enabled=has_bfloat16(trainer.device)),
    ):
        found = run_layers(trainer.model, batch, *embed(trainer.model, batch, trainer.codec))
        return float(loss_of(found.logits, batch))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", type=Path, default=Path("runs/smollm2-first"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--learned", type=Path, help="judge these weights, and train nothing")
    arguments = parser.parse_args()
    recipe = replace(Recipe(), steps=arguments.steps, side=128, architecture="smollm2")

    def each(progress: Progress, stage: Stage) -> None:
        print(f"{progress.step}: {stage.name}, loss {progress.loss:.2f}", flush=True)

    if arguments.learned is None:
        found = first_steps(recipe, arguments.run, HELD, each, device=arguments.device)
    else:
        found = judged(recipe, arguments.learned, device=arguments.device)
    print(f"Loss of answers: {found.before:.2f}, then {found.after:.2f}.")
    print(f"Answer: {found.answer['answer']!r}")
    assert found.after < found.before, "the loss didn't fall"


if __name__ == "__main__":
    main()
