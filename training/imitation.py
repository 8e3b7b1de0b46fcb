"""How a model of larger frames takes over what the bundled one knows.

It imitates it. Each of the bundled model's tokens stands for all those of a finer grid that lie
where it lies. A tower that were told only what answers cost, or what probes read, would make other
tokens than the language model can read; and a language model that has its tokens at other positions
forgets half of what it knows before answers alone have told it where to look. What it knows is in
the bundled model's own layers, at every token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from training.auxiliary_losses import AuxiliaryLoss
from training.batches import Batch, head_positions
from training.checkpoints import Weights, side_of
from training.cpu_layers import ATTENTION
from training.model import grid_of, new_model, sized_tokenizer, speed_up
from training.objective import LayerOutputs, embed, run_layers, visual_tokens
from training.packing import IGNORED
from training.tokenizer import Codec

# What the auxiliary losses are called among the kinds of questions: of the visual tokens behind the
# projector, and inside the language model; of the tokens of the text.
IMITATING, RESEMBLING, REPEATING = "imitating", "resembling", "repeating"
IMITATIONS = (IMITATING, RESEMBLING, REPEATING)


class Imitated:
    """A model of smaller frames, whose tokens and layers are imitated."""

    def __init__(self, weights: Weights, codec: Codec, device: torch.device) -> None:
        self.weights, self._side, self._codec = weights, side_of(weights), codec
        self._grid = grid_of(self._side)
        model = new_model(sized_tokenizer(self._side), self._side)
        model.load_state_dict(weights)
        speed_up(model)
        model.set_attn_implementation(ATTENTION)
        self._model = nn.Module.to(model, device).eval().requires_grad_(False)

    def losses(
        self,
        inputs: Tensor,
        prefix: int,
        batch: Batch,
        found: LayerOutputs | None = None,
        visual: float = 1.0,
    ) -> Iterator[AuxiliaryLoss]:
        """How far a model is from this one on the same clips.

        Args:
            inputs: of its language model [B, P + T, D], as `embed` gives them.
            prefix: P.
            batch: what they are made of.
            found: what its layers gave; None where the vision tower learns alone.
            visual: how much its visual tokens count; their share is told all the same.

        Yields:
            The name; the mean square of what is off, as a share of the variance of this model's
            own; and the share of that variance that isn't off, at least 0.
        """
        frames, per_frame = batch.seen.shape[1:3]
        with torch.no_grad():
            same = self._same_clips(batch)
            theirs, before = embed(self._model, same, self._codec)
            layers = found and run_layers(self._model, same, theirs, before)

        def finer(given: Tensor) -> Tensor:
            tokens = visual_tokens(given, before, self._codec)
            grid = tokens.view(len(given) * frames, self._grid, self._grid, -1)
            grid = grid.float().permute(0, 3, 1, 2)
            side = round(per_frame**0.5)
            larger = nn.functional.interpolate(grid, (side, side), mode="nearest")
            return larger.flatten(2).mT.flatten(0, 1)

        yield _off(IMITATING, [(visual_tokens(inputs, prefix, self._codec), finer(theirs))], visual)
        if found is None or layers is None:
            return
        names = [f.name for f in fields(found) if f.name != "logits"]
        pairs = [(getattr(found, name), getattr(layers, name)) for name in names]
        seen = [(visual_tokens(ours, prefix, self._codec), finer(their)) for ours, their in pairs]
        yield _off(RESEMBLING, seen, visual)
        text = batch.segments >= 0
        if bool(text.any()):
            read = [(ours[:, prefix:][text], their[:, before:][text]) for ours, their in pairs]
            yield _off(REPEATING, read, 1.0)

    def _same_clips(self, batch: Batch) -> Batch:
        """The same clips and questions as this model reads them, and no token dropped."""
        pixels = nn.functional.interpolate(
            batch.pixels.flatten(0, 1), (self._side, self._side), mode="area"
        ).unflatten(0, batch.pixels.shape[:2])
        rows, text = batch.text.shape
        head = head_positions(batch.frames.numpy(force=True), batch.spread, self._grid)
        head = head.to(batch.text.device).expand(rows, -1)
        begin = batch.positions.shape[1] - text
        behind = batch.positions[:, begin:] - batch.positions[:, begin - 1 : begin] + head[:, -1:]
        positions = torch.cat([head, behind], dim=1)
        return replace(
            batch,
            pixels=pixels,
            # None of its answers are asked for.
            labels=torch.full_like(batch.labels, IGNORED),
            positions=positions,
            dropped=torch.zeros_like(positions, dtype=torch.bool),
        )


def _off(name: str, pairs: list[tuple[Tensor, Tensor]], weight: float) -> AuxiliaryLoss:
    """The mean over pairs of what is given and what is wanted."""
    each = [
        (ours.float() - their.float()).square().mean() / their.float().var()
        for ours, their in pairs
    ]
    mean = torch.stack(each).mean()
    return name, weight * mean, max(0.0, 1 - float(mean.detach()))
