"""What a run keeps on disk: its state, the checkpoint it starts from, the one it exports."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.model import new_model, new_processor
from training.tokenizer import BLANK, build_tokenizer

STATE, BEFORE = "state.pt", "state.before.pt"
State = dict[str, Any]
Use = Callable[[State], None]
Tell = Callable[[str], None]
# What reading a damaged file raises, and what putting it into another model does.
WRONG = (RuntimeError, ValueError, KeyError, TypeError, EOFError, OSError, pickle.UnpicklingError)


def is_kept(folder: Path) -> bool:
    """Whether a run is kept in a folder."""
    return any((folder / name).exists() for name in (STATE, BEFORE))


def keep(state: State, folder: Path) -> None:
    """Writes a state; whenever that is broken off, a whole one is left."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / (STATE + ".part")
    torch.save(state, partial)
    if (folder / STATE).exists():
        os.replace(folder / STATE, folder / BEFORE)
    os.replace(partial, folder / STATE)


def take_up(
    folder: Path,
    use: Use,
    tell: Tell,
    device: torch.device | str = "cpu",
    instead: str = "train in another folder (--run)",
) -> None:
    """Hands the last state to `use`, or the one before it where that one is damaged.

    Args:
        use: raises one of WRONG where the state doesn't fit.
    """
    damaged = []
    for path in (folder / STATE, folder / BEFORE):
        if path.exists():
            try:
                use(torch.load(path, map_location=device, weights_only=True))
            except WRONG:
                damaged.append(f"{path} is damaged or of another configuration")
            else:
                for sentence in damaged:
                    tell(f"{sentence}: the state before it is used.")
                return
    raise ModelError(f"{' and '.join(damaged)}: {instead}.")


WORDS = ("embed_tokens.weight", "lm_head.weight")


def start_from(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, checkpoint: Path
) -> None:
    """Copies what a checkpoint has into a model with fresh weights.

    Words are matched by what they say.
    """
    try:
        _copy(model, tokenizer, checkpoint)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, SafetensorError) as error:
        raise ModelError(
            f"{checkpoint} can't be begun with: it is damaged, or no checkpoint of such a model; "
            "name one that `export` wrote (--begin)."
        ) from error


def _copy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, checkpoint: Path) -> None:
    if not checkpoint.is_dir():
        raise OSError("no folder")
    old = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    found = PreTrainedTokenizerFast.from_pretrained(checkpoint).get_vocab().items()
    # With the tokens of forms (`forms`) a word is there twice: with its blank first.
    pieces = sorted(found, key=lambda one: one[1], reverse=True)
    ids = {piece.removeprefix(BLANK): number for piece, number in pieces}
    state = model.state_dict()
    weights = old.state_dict()
    if weights.keys() != state.keys():
        raise ValueError("another architecture")
    for name, weight in weights.items():
        if name.endswith(WORDS):
            for word, i in tokenizer.get_vocab().items():
                if word in ids:
                    state[name][i] = weight[ids[word]]
            continue
        state[name] = weight
    model.load_state_dict(state)


MOST_BYTES = 20_000_000


def export_run(run: Path, out: Path = BUNDLED_CHECKPOINT, tell: Tell = warnings.warn) -> int:
    """Writes the weights of a run, in bfloat16, with all that stock classes need to load them.

    Returns:
        Bytes of the folder.
    """
    if not is_kept(run):
        raise OutputError(f"{run} holds no training run: train one first.")
    written = 0

    def use(state: State) -> None:
        nonlocal written
        model = new_model(build_tokenizer())
        model.load_state_dict(state["model"])
        written = write_checkpoint(model, out)

    take_up(run, use, tell)
    return written


def write_checkpoint(
    model: PreTrainedModel, out: Path, tokenizer: PreTrainedTokenizerFast | None = None
) -> int:
    """Writes a model and its processor as a checkpoint folder; returns its bytes.

    Args:
        tokenizer: None for the plain one.
    """
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    small = copy.deepcopy(model)
    nn.Module.to(small, torch.bfloat16)
    small.save_pretrained(partial)
    new_processor(tokenizer or build_tokenizer()).save_pretrained(partial)
    for file in partial.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in partial.iterdir())
    if size > MOST_BYTES:
        raise OutputError(
            f"The checkpoint has {size:,} bytes; at most {MOST_BYTES:,} may ship. Name a folder of "
            "your own (--out)."
        )
    replaced = out.with_name(out.name + ".old")
    shutil.rmtree(replaced, ignore_errors=True)
    if out.exists():
        os.replace(out, replaced)
    os.replace(partial, out)
    shutil.rmtree(replaced, ignore_errors=True)
    return size
