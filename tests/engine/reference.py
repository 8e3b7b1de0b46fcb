"""A reference that keeps everything: no cache, no hooks, pruned keys are masked with -inf.

Written from the paper and from the published description of Qwen2, in float64 and plain loops.
It shares no code with `dycoke_cli`; of the model it uses weights alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class ReferenceChoice:
    """What the reference did: rows read in order; by step, active tokens and attention to all."""

    kept: list[int] = field(default_factory=list)
    active: list[list[int]] = field(default_factory=list)
    attention: list[list[float]] = field(default_factory=list)


def merge(features: torch.Tensor, ratio: float) -> list[int]:
    """TTM by loops: features [F, N, D] -> flat indices that stay, in reading order."""
    frames, per_frame, _ = features.shape
    stay = int((1 - ratio) * per_frame)
    kept = []
    for frame in range(frames):
        window_start = 4 * (frame // 4)
        other = {0: None, 1: window_start, 2: window_start, 3: window_start + 2}[frame % 4]
        if other is None:
            kept += [frame * per_frame + n for n in range(per_frame)]
            continue
        scored = []
        for n in range(per_frame):
            a, b = features[frame, n].double(), features[other, n].double()
            # As a float32 number: equal pairs tie, and the lower position stays.
            scored.append((float((a @ b / (a.norm() * b.norm())).float()), n))
        least = sorted(scored)[:stay]
        kept += sorted(frame * per_frame + n for _, n in least)
    return kept


def top(attention: list[float], count: int) -> list[int]:
    """The indices of the `count` largest, ascending; the lower index wins a tie."""
    ranked = sorted(range(len(attention)), key=lambda i: (-attention[i], i))
    return sorted(ranked[:count])


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def published_merge(features: torch.Tensor, ratio: float) -> list[int]:
    """TTM as the published loops run: order of rising similarity, an odd last frame dropped."""
    frames, per_frame, _ = features.shape
    stay = int((1 - ratio) * per_frame)

    def least_like(frame: int, other: int) -> list[int]:
        a, b = features[frame].double(), features[other].double()
        scores = (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
        # As float32 numbers: equal pairs tie, and the lower position stays.
        ranked = sorted(range(per_frame), key=lambda n: (float(scores[n].float()), n))
        return [frame * per_frame + n for n in ranked[:stay]]

    whole = {f: [f * per_frame + n for n in range(per_frame)] for f in range(frames)}
    for start in range(0, frames - 1, 2):
        whole[start + 1] = least_like(start + 1, start)
    for start in range(0, frames - 4, 4):
        whole[start + 2] = least_like(start + 2, start)
    return [index for f in range(frames - frames % 2) for index in whole[f]]


class Reference:
    """A Qwen2 decoder by hand, run over the whole sequence for every new token."""

    def __init__(self, model: Any) -> None:
        self.decoder = model.get_decoder()
        self.head = model.get_output_embeddings().weight.double()
        self.config = self.decoder.config

    @torch.no_grad()
    def logits(
        self, embeds: torch.Tensor, positions: torch.Tensor, masks: dict[int, torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Logits [S, vocabulary] and attention [heads, S, S] of each layer.

        masks: layer -> additive mask [S, S]; layers without one are causal only.
        """
        config = self.config
        heads, groups = config.num_attention_heads, config.num_key_value_heads
        width = config.hidden_size // heads
        size = len(embeds)
        causal = torch.full((size, size), -math.inf).double().triu(1)
        base = config.rope_parameters["rope_theta"]
        turns = base ** (-torch.arange(0, width, 2).double() / width)
        angles = positions.double()[:, None] * turns
        x = embeds.double()
        attentions = []
        for number, layer in enumerate(self.decoder.layers):
            h = _rms(x, layer.input_layernorm.weight, config.rms_norm_eps)
            q, k, v = (
                _linear(h, getattr(layer.self_attn, name)).view(size, -1, width)
                for name in ("q_proj", "k_proj", "v_proj")
            )
            q, k = _rotate(q, angles), _rotate(k, angles)
            mask = masks.get(number, causal)
            outs, weights = [], []
            for head in range(heads):
                group = head // (heads // groups)
                scores = q[:, head] @ k[:, group].T / math.sqrt(width) + mask
                weight = scores.softmax(-1)
                weights.append(weight)
                outs.append(weight @ v[:, group])
            attentions.append(torch.stack(weights))
            x = x + _linear(torch.cat(outs, -1), layer.self_attn.o_proj)
            h = _rms(x, layer.post_attention_layernorm.weight, config.rms_norm_eps)
            gate = torch.nn.functional.silu(_linear(h, layer.mlp.gate_proj))
            x = x + _linear(gate * _linear(h, layer.mlp.up_proj), layer.mlp.down_proj)
        x = _rms(x, self.decoder.norm.weight, config.rms_norm_eps)
        return x @ self.head.T, attentions

    @torch.no_grad()
    def generate(
        self,
        embeds: torch.Tensor,
        visual: range,
        features: torch.Tensor,
        *,
        new_tokens: int,
        merge_ratio: float | None,
        prune_ratio: float | None,
        prune_layer: int,
        threshold: float = 0.9,
        recall: bool = True,
        kept_positions: bool = False,
        published: bool = False,
    ) -> tuple[list[int], list[torch.Tensor], ReferenceChoice]:
        """Greedy tokens, their logits [vocabulary], and the choices.

        embeds [S, D]: the whole prompt. visual: its visual rows. features [F, N, D]: the same.
        """
        choice = ReferenceChoice()
        flat = list(range(len(visual)))
        if merge_ratio is not None:
            flat = (published_merge if published else merge)(features, merge_ratio)
        choice.kept = flat
        rows = [
            *range(visual.start),
            *[visual.start + i for i in flat],
            *range(visual.stop, len(embeds)),
        ]
        places = list(rows) if kept_positions else list(range(len(rows)))
        next_place = len(embeds) if kept_positions else len(rows)
        prompt = len(rows)
        seen = embeds[rows]
        columns = range(visual.start, visual.start + len(flat))
        tokens, all_logits = [], []
        last_choice: list[int] | None = None
        last_attention: list[float] = []
        for step in range(new_tokens):
            size = len(seen)
            masks = {}
            if prune_ratio is not None:
                pruned = torch.full((size, size), -math.inf).double().triu(1)
                for earlier, active in enumerate(choice.active):
                    waiting = [c for i, c in enumerate(columns) if i not in active]
                    pruned[prompt + earlier, waiting] = -math.inf
                layers = range(prune_layer, self.config.num_hidden_layers)
                masks = dict.fromkeys(layers, pruned)
            if step and prune_ratio is not None:
                # What the scoring layer sees doesn't depend on the choice of this step.
                _, attentions = self.logits(seen, torch.tensor(places), masks)
                row = attentions[prune_layer - 1].mean(0)[-1]
                attention = [float(row[c]) for c in columns]
                if published:
                    scored = attention[:-1]
                    active = list(range(len(attention)))
                    if not last_attention or cosine(scored, last_attention) < threshold:
                        active = [*top(scored, int(len(scored) * (1 - prune_ratio))), active[-1]]
                    last_attention = scored
                else:
                    if last_choice is None or (
                        recall and (threshold >= 1 or cosine(attention, last_attention) < threshold)
                    ):
                        last_choice = top(attention, int(len(attention) * (1 - prune_ratio)))
                        last_attention = attention
                    active = last_choice
                choice.active.append(active)
                choice.attention.append(attention)
                waiting = [c for i, c in enumerate(columns) if i not in active]
                pruned[size - 1, waiting] = -math.inf
            logits, _ = self.logits(seen, torch.tensor(places), masks)
            all_logits.append(logits[-1])
            token = int(logits[-1].argmax())
            tokens.append(token)
            seen = torch.cat([seen, self.decoder.embed_tokens.weight[token][None]])
            places.append(next_place)
            next_place += 1
        return tokens, all_logits, choice


def _linear(x: torch.Tensor, layer: Any) -> torch.Tensor:
    out = x @ layer.weight.double().T
    return out if layer.bias is None else out + layer.bias.double()


def _rms(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return weight.double() * x / (x.pow(2).mean(-1, keepdim=True) + eps).sqrt()


def _rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    half = x.shape[-1] // 2
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
