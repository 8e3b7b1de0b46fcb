"""How a model of larger frames, or of another family, takes over what the bundled one knows.

It imitates it. Each of the bundled model's tokens stands for all those of a finer grid that lie
where it lies, and those of the last frame for a step of several. A tower that were told only what
answers cost, or what probes read, would make other tokens than the language model can read; and a
language model that has its tokens at other positions forgets half of what it knows before answers
alone have told it where to look. What it knows is in the bundled model's own layers, at every
token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from training.architectures import BUNDLED
from training.architectures.base import grid_of
from training.auxiliary_losses import AuxiliaryLoss
from training.batches import Batch
from training.checkpoints import Weights, side_of
from training.cpu_layers import ATTENTION
from training.objective import LayerOutputs, embed, run_layers, visual_tokens
from training.packing import IGNORED
from training.tokenizer import UNKNOWN, Codec

# What the auxiliary losses are called among the kinds of questions: of the visual tokens behind the
# projector, and inside the language model; of the tokens of the text.
IMITATING, RESEMBLING, REPEATING = "imitating", "resembling", "repeating"
IMITATIONS = (IMITATING, RESEMBLING, REPEATING)


class Imitated:
    """A model of the bundled architecture, whose tokens and layers are imitated."""

    def __init__(
        self,
        weights: Weights,
        tokenizer: PreTrainedTokenizerFast,
        codec: Codec,
        device: torch.device,
    ) -> None:
        self.weights, self._side, self._codec = weights, side_of(weights), codec
        self._grid = grid_of(self._side)
        own = BUNDLED.tokenizer(self._side)
        self._own_codec, vocabulary = BUNDLED.codec(own), own.get_vocab()
        unknown = vocabulary[UNKNOWN]
        words = sorted(tokenizer.get_vocab().items(), key=lambda word: word[1])
        self._ids = torch.tensor([vocabulary.get(word, unknown) for word, _ in words])
        self._ids = self._ids.to(device)
        model = BUNDLED.model(own, self._side)
        model.load_state_dict(weights)
        BUNDLED.speed_up(model)
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
        steps, per_step = batch.seen.shape[1:3]
        # What a step of several frames holds is told of its last one.
        ends = (torch.arange(1, steps + 1) * batch.architecture.together).clamp(
            max=len(batch.frames)
        )
        with torch.no_grad():
            same = self._same_clips(batch)
            theirs, before = embed(self._model, same, self._own_codec)
            layers = found and run_layers(self._model, same, theirs, before)

        def finer(given: Tensor) -> Tensor:
            tokens = visual_tokens(given, before, self._own_codec)
            frames = tokens.view(len(given), len(batch.frames), self._grid, self._grid, -1)
            grid = frames[:, ends - 1].flatten(0, 1).float().permute(0, 3, 1, 2)
            side = round(per_step**0.5)
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
        pixels = batch.architecture.frames(batch.pixels, len(batch.frames))
        pixels = nn.functional.interpolate(
            pixels.flatten(0, 1), (self._side, self._side), mode="area"
        ).unflatten(0, pixels.shape[:2])
        rows, text = batch.text.shape
        head = BUNDLED.positions(batch.frames.numpy(force=True), batch.spread, self._grid, 0.0)
        head = head.to(batch.text.device).expand(rows, -1)
        # In a line or in space, words stand one behind the other.
        asked = batch.positions if batch.positions.ndim == 2 else batch.positions[0]
        begin = asked.shape[1] - text
        behind = asked[:, begin:] - asked[:, begin - 1 : begin] + head[:, -1:]
        positions = torch.cat([head, behind], dim=1)
        return replace(
            batch,
            architecture=BUNDLED,
            pixels=pixels,
            text=self._ids[batch.text],
            # None of its answers are asked for.
            labels=torch.full_like(batch.labels, IGNORED),
            seen=batch.seen[:, :1, : self._grid**2].expand(-1, len(batch.frames), -1, -1),
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
