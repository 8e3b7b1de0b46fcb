"""Teaches the bundled model to judge sentences about a clip, by an adapter beside its weights.

The bundled model was never asked whether a sentence is true. `dycoke caption --check` asks that, so
what the check finds is measured with this adapter. All other weights stay as they are shipped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dycoke_cli.answer.caption import checking_question
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.shapes.script import Script
from training.architectures import BUNDLED
from training.batches import make_batch
from training.checkpoints import start_from, write_checkpoint
from training.cpu_layers import ATTENTION
from training.curriculum import FRAMES_16
from training.lora import LoraLinear, freeze
from training.objective import embed, exact_matches, loss_of, run_layers
from training.world.script_questions import ScriptQuestion
from training.world.statements import statements

ADAPTER = Path(__file__).parents[1] / "docs" / "data" / "checked-sentences-adapter.safetensors"
"""The weights that are kept of it."""
RANK, SCALE = 8, 2.0
RATE, WARMUP = 2e-3, 20
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# No clip is out of domain, for a sentence about such a clip is neither true nor false.
SHAPE = replace(FRAMES_16, videos=4, text=416, out_of_domain=0.0)


def train_statements(
    steps: int, seed: int, adapter: Path, each: Callable[[int, float, float], None]
) -> None:
    """Train an adapter, and write it.

    Args:
        each: is told the step, its loss and the share of sentences that were judged right.
    """
    torch.manual_seed(seed)
    model, tokenizer = _adapted()
    codec = BUNDLED.codec(tokenizer)
    processor = BUNDLED.processor(tokenizer).video_processor
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    adam = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(steps):
        rate = min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
        adam.param_groups[0]["lr"] = RATE * rate
        batch = make_batch([seed, step], SHAPE, "train", codec, processor, asked)
        inputs, prefix = embed(model, batch, codec)
        found = run_layers(model, batch, inputs, prefix)
        loss = loss_of(found.logits, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        right = [ok for _, ok in exact_matches(found.logits.detach(), batch)]
        each(step + 1, float(loss.detach()), sum(right) / len(right))
    own = {name: weight.detach() for name, weight in model.named_parameters()}
    adapter.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: weight.to(torch.bfloat16) for name, weight in own.items()}, adapter)


def export_statements(adapter: Path, out: Path) -> int:
    """Write the bundled model with an adapter merged into it; returns the folder's bytes."""
    adapted, tokenizer = _adapted()
    adapted.load_state_dict(load_file(adapter), strict=False)
    model = BUNDLED.model(tokenizer)
    start_from(model, tokenizer, BUNDLED_CHECKPOINT)
    with torch.no_grad():
        for name, part in adapted.named_modules():
            if isinstance(part, LoraLinear):
                model.get_submodule(name).weight.copy_(part.merged())
    return write_checkpoint(model, out)


def asked(script: Script, rng: np.random.Generator) -> list[ScriptQuestion]:
    """Sentences about a clip, each asked about; as many are true as false."""
    return [
        ScriptQuestion("existence", checking_question(one.text), "Yes." if one.true else "No.")
        for one in statements(script, rng)
    ]


def _adapted() -> tuple[Any, Any]:
    """The bundled model, frozen, with adapters that change nothing yet."""
    tokenizer = BUNDLED.tokenizer()
    model: Any = BUNDLED.model(tokenizer)
    start_from(model, tokenizer, BUNDLED_CHECKPOINT)
    for layer in model.get_decoder().layers:
        for part in (layer.self_attn, layer.mlp):
            for name in ADAPTED:
                if hasattr(part, name):
                    setattr(part, name, LoraLinear.adapting(getattr(part, name), RANK, SCALE))
    BUNDLED.speed_up(model)
    freeze(model)
    model.set_attn_implementation(ATTENTION)
    return model, tokenizer
