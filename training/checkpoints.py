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
from training.architectures import ARCHITECTURES, BUNDLED, SIDE, Architecture
from training.architectures.base import PATCH
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


def made_for(state: State) -> tuple[Architecture, int]:
    """The architecture whose weights a state has, and the side in pixels of its frames."""
    if "architecture" in state:
        return ARCHITECTURES[state["architecture"]], state["side"]
    return BUNDLED, side_of(state["model"])


def side_of(weights: Weights) -> int:
    """The same side, of an architecture whose tower has a table of places."""
    return math.isqrt(len(weights[PLACES])) * PATCH


def fit_places(weights: Weights, side: int) -> Weights:
    """The same weights for frames of another side: the table of places is interpolated."""
    if PLACES not in weights or side_of(weights) == side:
        return weights
    before, after = (s // PATCH for s in (side_of(weights), side))
    table = weights[PLACES].T.reshape(1, -1, before, before)
    table = nn.functional.interpolate(table, (after, after), mode="bicubic")
    return {**weights, PLACES: table.flatten(2)[0].T}


WORDS = ("embed_tokens.weight", "lm_head.weight")
TEXT = "language_model."
TEXT_LAYERS = f"{TEXT}layers."


def start_from(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
) -> bool:
    """Copies what a checkpoint has into a model with fresh weights.

    Words are matched by what they say, places in a frame of another side by where they are. Of a
    text model with fewer layers, the lower two thirds become the lowest layers, the others the
    highest; those between stay fresh. A model of another family takes the language model.
    """
    try:
        return _copy(model, tokenizer, checkpoint)
    except (OSError, ValueError, RuntimeError, KeyError, IndexError, SafetensorError) as error:
        raise ModelError(
            f"{checkpoint} can't be begun with: it is damaged, or no checkpoint of such a model; "
            "name one that `export` wrote (--begin)."
        ) from error


def _copy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    checkpoint: Path,
) -> bool:
    if not checkpoint.is_dir():
        raise OSError("no folder")
    old = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.float32)
    same = old.config.model_type == model.config.model_type
    found = PreTrainedTokenizerFast.from_pretrained(checkpoint).get_vocab().items()
    # With the tokens of forms (`forms`) a word is there twice: with its blank first.
    pieces = sorted(found, key=lambda one: one[1], reverse=True)
    ids = {piece.removeprefix(BLANK): number for piece, number in pieces}
    moved = layers(len(old.get_decoder().layers), len(model.get_decoder().layers))
    state = model.state_dict()
    weights = old.state_dict()
    if not same and PLACES not in weights:
        raise ValueError("another architecture, and not the bundled one")
    if PLACES in state:
        weights = fit_places(weights, side_of(state))
    for name, weight in weights.items():
        if name.endswith(WORDS):
            for word, i in tokenizer.get_vocab().items():
                if word in ids:
                    state[name][i] = weight[ids[word]]
            continue
        if same or TEXT in name:
            state[_renamed(name, moved)] = weight
    model.load_state_dict(state)
    return len(moved) == len(model.get_decoder().layers)


def imitated_weights(architecture: Architecture, checkpoint: Path, side: int) -> Weights | None:
    """The weights of a checkpoint of the bundled architecture that a model can't just go on with.

    Because its frames have another side, or its tower is of another family. Words have the ids of
    the bundled tokenizer. None where it can.
    """
    config = AutoConfig.from_pretrained(checkpoint)
    theirs = getattr(config.vision_config, "image_size", None)
    if theirs is None or (architecture is BUNDLED and theirs == side):
        return None
    tokenizer = BUNDLED.tokenizer(theirs)
    model = BUNDLED.model(tokenizer, theirs)
    start_from(model, tokenizer, checkpoint)
    return model.state_dict()


def layers(old: int, new: int) -> list[int]:
    """Where each of the old layers goes among the new ones."""
    lower = -(-old * 2 // 3)
    return [i if i < lower else i + new - old for i in range(old)]


def _renamed(name: str, moved: list[int]) -> str:
    before, found, rest = name.partition(TEXT_LAYERS)
    if not found:
        return name
    number, dot, rest = rest.partition(".")
    return f"{before}{found}{moved[int(number)]}{dot}{rest}"


MOST_BYTES = 20_000_000
LONG_CONTEXT = 65_536
"""Positions of a model that has learned long videos: an hour has 57,600 at 16 tokens a second."""


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
        architecture, side = made_for(state)
        model = architecture.model(architecture.tokenizer(side), side)
        model.load_state_dict(state["model"])
        if state.get("long"):
            model.config.text_config.max_position_embeddings = LONG_CONTEXT
        written = write_checkpoint(model, out, architecture, side)

    take_up(run, use, tell)
    return written


def write_checkpoint(
    model: PreTrainedModel,
    out: Path,
    architecture: Architecture = BUNDLED,
    side: int = SIDE,
    tokenizer: PreTrainedTokenizerFast | None = None,
) -> int:
    """Writes a model and its processor as a checkpoint folder; returns its bytes.

    Args:
        tokenizer: None for that of the architecture.
    """
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    small = copy.deepcopy(model)
    nn.Module.to(small, torch.bfloat16)
    small.save_pretrained(partial)
    tokenizer = tokenizer or architecture.tokenizer(side)
    tokenizer.model_max_length = model.config.text_config.max_position_embeddings
    architecture.processor(tokenizer, side).save_pretrained(partial)
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
