"""The loss of a batch, and which of its questions would be answered right.

All runs through the parts of the stock model, so that what is trained is what is loaded later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.batches import Batch
from training.packing import IGNORED
from training.tokenizer import Codec

# Layers of the language model (from 1, of ten) whose outputs are read: what has changed early, whom
# a name means, what has happened in the middle, what before that and which event is named next;
# near the end whether a question's claims are true, and which event its answer tells.
CHANGED_LAYER, NAMED_LAYER, KNOWN_LAYER, EARLIER_LAYER, LATE_LAYER = 3, 6, 7, 8, 9


def embed(model: Any, batch: Batch, codec: Codec) -> tuple[Tensor, int]:
    """Inputs of the language model [B, P + T, D], and P."""
    table = model.get_input_embeddings()
    # The newline stands behind the visual tokens.
    video = model.model.get_video_features(batch.pixels).pooler_output
    head = table(torch.tensor(codec.prefix, device=video.device)).expand(len(video), -1, -1)
    prefix = torch.cat([head.to(video.dtype), video], dim=1)
    return torch.cat([prefix, table(batch.text).to(video.dtype)], dim=1), prefix.shape[1]


def attention_mask(segments: Tensor, prefix: int, dropped: Tensor) -> Tensor:
    """Who sees whom: [B, T] segments -> [B, 1, P + T, P + T] bool, true where seen.

    `dropped` [B, P + T]: attended to by themselves alone.
    """
    rows, text = segments.shape
    length = prefix + text
    mask = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    mask = mask.expand(rows, 1, length, length).clone()
    mask[:, :, prefix:, prefix:] &= (segments[:, :, None] == segments[:, None, :])[:, None]
    themselves = torch.eye(length, dtype=torch.bool, device=segments.device)
    return mask & (~dropped[:, None, None] | themselves)


@dataclass(frozen=True)
class LayerOutputs:
    """What comes out of the language model's layers for a batch."""

    logits: Tensor  # [A, vocabulary] where a token is learned, in row-major order
    changed: Tensor  # [B, P + T, D], what comes out of the layer that changes are read off
    named: Tensor  # [B, P + T, D], what comes out of the layer that names are read off
    known: Tensor  # [B, P + T, D], what comes out of the layer that what happened is read off
    # [B, P + T, D], what comes out of the layer that what happened before that is read off
    earlier: Tensor
    late: Tensor  # [B, P + T, D], what comes out of the last layer but one, where verdicts are read


def run_layers(model: Any, batch: Batch, inputs: Tensor, prefix: int) -> LayerOutputs:
    """Runs the language model on what `embed` gives."""
    seen = attention_mask(batch.segments, prefix, batch.dropped)
    # What is added to the scores, as plain (eager) attention wants it.
    mask = torch.zeros(seen.shape, dtype=inputs.dtype, device=inputs.device)
    mask.masked_fill_(~seen, torch.finfo(inputs.dtype).min)
    decoder = model.model.language_model
    outputs: list[Tensor] = []
    hooks = [
        decoder.layers[layer - 1].register_forward_hook(
            lambda _module, _inputs, output: outputs.append(output)
        )
        for layer in (CHANGED_LAYER, NAMED_LAYER, KNOWN_LAYER, EARLIER_LAYER, LATE_LAYER)
    ]
    hidden = decoder(
        inputs_embeds=inputs,
        attention_mask=mask,
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state
    for hook in hooks:
        hook.remove()
    return LayerOutputs(model.lm_head(hidden[:, prefix:][batch.labels != IGNORED]), *outputs)


def visual_tokens(inputs: Tensor, prefix: int, codec: Codec) -> Tensor:
    """The frames' tokens of embedded inputs, the end left out: [B * F * N, D], N a frame."""
    return inputs[:, len(codec.prefix) : prefix - 1].flatten(0, 1)


def loss_of(logits: Tensor, batch: Batch) -> Tensor:
    """Weighted mean of the cross entropy over all tokens that are learned."""
    asked = batch.labels != IGNORED
    losses = nn.functional.cross_entropy(logits.float(), batch.labels[asked], reduction="none")
    weights = batch.weights[asked]
    return (losses * weights).sum() / weights.sum()


def exact_matches(logits: Tensor, batch: Batch) -> list[tuple[str, bool]]:
    """For each question its kind, and whether every token of its answer is the likeliest.

    Questions don't see each other, so that is just when greedy decoding gives the right answer.
    """
    asked = batch.labels != IGNORED
    wrong = torch.zeros(batch.labels.shape, dtype=torch.bool, device=logits.device)
    wrong[asked] = logits.argmax(-1) != batch.labels[asked]
    wrong &= batch.answered
    most = max(len(row) for row in batch.questions)
    errors = torch.zeros(len(batch.text), most + 1, dtype=torch.long, device=logits.device)
    errors.scatter_add_(1, batch.segments.clamp(min=-1) % (most + 1), wrong.long())
    found = errors.tolist()
    return [
        (question.kind, found[i][j] == 0)
        for i, row in enumerate(batch.questions)
        for j, question in enumerate(row)
    ]
