"""The trained model as an ordinary checkpoint folder."""

from __future__ import annotations

import copy
import os
import shutil
import warnings
from pathlib import Path

import torch
from transformers import LlavaOnevisionForConditionalGeneration

from dycoke_cli.errors import OutputError
from dycoke_cli.models.mini.training.architecture import build_model, build_processor
from dycoke_cli.models.mini.training.kept import State, Tell, is_kept, take_up
from dycoke_cli.models.mini.training.tokenizer import build_tokenizer

CHECKPOINT = Path(__file__).parent / "checkpoint"
MOST_BYTES = 20_000_000


def export_run(run: Path, out: Path = CHECKPOINT, tell: Tell = warnings.warn) -> int:
    """Writes the weights of a run, in bfloat16, with all that stock classes need to load them.

    Args:
        run: folder of a training run.
        out: the checkpoint folder; replaced as a whole, at the end.
        tell: gets a sentence where the run's last state is damaged.

    Returns:
        Bytes of the folder.

    Raises:
        OutputError: no run is kept in `run`, or the folder would be too large to ship.
        ModelError: what is kept can't be used.
    """
    if not is_kept(run):
        raise OutputError(f"{run} holds no training run: train one first.")
    model = build_model(build_tokenizer())

    def use(state: State) -> None:
        model.load_state_dict(state["model"])

    take_up(run, use, tell)
    return write_checkpoint(model, out)


def write_checkpoint(model: LlavaOnevisionForConditionalGeneration, out: Path) -> int:
    """Writes a model and its processor as a checkpoint folder; returns its bytes."""
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    small = copy.deepcopy(model)
    torch.nn.Module.to(small, torch.bfloat16)
    small.save_pretrained(partial)
    build_processor(build_tokenizer()).save_pretrained(partial)
    for file in partial.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in partial.iterdir())
    if size > MOST_BYTES:
        raise OutputError(f"The checkpoint has {size:,} bytes; at most {MOST_BYTES:,} may ship.")
    replaced = out.with_name(out.name + ".old")
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        os.replace(out, replaced)
    os.replace(partial, out)
    shutil.rmtree(replaced, ignore_errors=True)
    return size
