"""What a run keeps on disk: its state, the checkpoint it starts from, the one it exports."""

from __future__ import annotations

import copy
import math
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from training.model import PATCH, SIDE, new_model, new_processor, sized_tokenizer
from training.tokenizer import BLANK

STATE, BEFORE = "state.pt", "state.before.pt"
PLACES = "model.vision_tower.embeddings.position_embedding.weight"
State = dict[str, Any]
Weights = dict[str, Tensor]
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


def side_of(weights: Weights) -> int:
    """The side in pixels of the frames of a model: its tower has a table of places."""
    return math.isqrt(len(weights[PLACES])) * PATCH


def fit_places(weights: Weights, side: int) -> Weights:
    """The same weights for frames of another side: the table of places is interpolated."""
    if side_of(weights) == side:
        return weights
    before, after = (s // PATCH for s in (side_of(weights), side))
    table = weights[PLACES].T.reshape(1, -1, before, before)
    table = nn.functional.interpolate(table, (after, after), mode="bicubic")
    return {**weights, PLACES: table.flatten(2)[0].T}


WORDS = ("embed_tokens.weight", "lm_head.weight")


def start_from(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, checkpoint: Path
) -> None:
    """Copies what a checkpoint has into a model with fresh weights.

    Words are matched by what they say, places in a frame of another side by where they are.
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
    weights = fit_places(old.state_dict(), side_of(state))
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


def imitated_weights(checkpoint: Path, side: int) -> Weights | None:
    """The weights of a checkpoint that a model can't just go on with: its frames have another side.

    Words have the ids of the plain tokenizer. None where it can.
    """
    theirs = AutoConfig.from_pretrained(checkpoint).vision_config.image_size
    if theirs == side:
        return None
    tokenizer = sized_tokenizer(theirs)
    model = new_model(tokenizer, theirs)
    start_from(model, tokenizer, checkpoint)
    return model.state_dict()


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
        side = side_of(state["model"])
        model = new_model(sized_tokenizer(side), side)
        model.load_state_dict(state["model"])
        written = write_checkpoint(model, out, side)

    take_up(run, use, tell)
    return written


def write_checkpoint(
    model: PreTrainedModel,
    out: Path,
    side: int = SIDE,
    tokenizer: PreTrainedTokenizerFast | None = None,
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
    tokenizer = tokenizer or sized_tokenizer(side)
    tokenizer.model_max_length = model.config.text_config.max_position_embeddings
    new_processor(tokenizer, side).save_pretrained(partial)
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
