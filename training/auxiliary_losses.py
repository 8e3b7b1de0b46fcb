"""The probes of all auxiliary losses, and what a batch costs them.

A probe is a linear layer that reads facts off single tokens; it is thrown away after training.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training.batches import Batch
from training.curriculum import Recipe
from training.objective import LayerOutputs, visual_tokens
from training.packing import IGNORED
from training.text_targets import CHOSEN, NAMED, PLACES, THE_RIGHT_ONE
from training.tokenizer import Codec
from training.visual_targets import CHANGED, EARLIER, KNOWN, LAST_EVENT, SEEN

# What the auxiliary losses are called among the kinds of questions.
SEEING, COMPARING, KNOWING = "seeing", "comparing", "knowing"
REMEMBERING, NAMING, JUDGING = "remembering", "naming", "judging"
PLACING, SEEKING, CHOOSING = "placing", "seeking", "choosing"
PROBES = (SEEING, COMPARING, KNOWING, REMEMBERING, NAMING, PLACING, SEEKING, JUDGING, CHOOSING)
# Most tokens of a frame show nothing: they would drown what the others have to tell.
NOTHING_WEIGHT = 0.2

# Its name, the loss as it counts, and the share read off correctly; None where there was nothing.
AuxiliaryLoss = tuple[str, Tensor, float | None]


class AuxiliaryLosses(nn.Module):
    """A probe for each auxiliary loss; thrown away with the run."""

    def __init__(self, recipe: Recipe, codec: Codec, width: int) -> None:
        super().__init__()
        self._recipe, self._codec = recipe, codec
        self.seeing_probe = Probe(width, SEEN, slice(0, 2))
        self.knowing_probe = Probe(width, KNOWN, LAST_EVENT)
        self.comparing_probe, self.remembering_probe = Probe(width, CHANGED), Probe(width, EARLIER)
        self.naming_probe, self.judging_probe = Probe(width, NAMED), nn.Linear(width, 1)
        self.placing_probe, self.seeking_probe = Probe(width, (PLACES,)), Probe(width, (PLACES,))
        self.choosing_probe = Probe(width, CHOSEN, THE_RIGHT_ONE)

    def seeing(self, inputs: Tensor, prefix: int, batch: Batch) -> AuxiliaryLoss:
        """Behind the projector: what is there. The inputs are those of the language model."""
        tokens = visual_tokens(inputs, prefix, self._codec)
        loss, told = self.seeing_probe.loss(tokens, batch.seen.flatten(0, 2))
        return SEEING, loss if batch.vision_only else self._recipe.seeing * loss, told

    def inside(self, found: LayerOutputs, prefix: int, batch: Batch) -> Iterator[AuxiliaryLoss]:
        """Inside the language model: all the others that the batch has something for."""
        recipe = self._recipe
        for name, probe, layer, facts in (
            (COMPARING, self.comparing_probe, found.changed, batch.changed),
            (KNOWING, self.knowing_probe, found.known, batch.known),
            (REMEMBERING, self.remembering_probe, found.earlier, batch.earlier),
        ):
            tokens = visual_tokens(layer, prefix, self._codec)
            loss, told = probe.loss(tokens, facts.flatten(0, 2))
            yield name, recipe.knowing * loss, told
        placed, sought = batch.placed[..., None], batch.sought[..., None]
        for name, probe, layer, facts, weight in (
            (NAMING, self.naming_probe, found.named, batch.named, recipe.knowing),
            (PLACING, self.placing_probe, found.earlier, placed, recipe.placing),
            (SEEKING, self.seeking_probe, found.late, sought, recipe.placing),
            (CHOOSING, self.choosing_probe, found.late, batch.chosen, recipe.placing),
        ):
            settled = facts[..., 0] > 0
            if bool(settled.any()):
                loss, told = probe.loss(layer[:, prefix:][settled], facts[settled])
                yield name, weight * loss, told
        if batch.text.shape[1]:
            loss, told = verdict_loss(self.judging_probe, found.late, batch)
            yield JUDGING, recipe.judging * loss, told


class Probe(nn.Module):
    """A linear probe: reads several facts off tokens, each one of a few classes.

    Args:
        judged: the facts that must all be read off correctly for a token to count as correct.
    """

    def __init__(self, width: int, sizes: tuple[int, ...], judged: slice = slice(None)) -> None:
        super().__init__()
        self.sizes, self.judged = list(sizes), judged
        self.linear = nn.Linear(width, sum(sizes))

    def loss(self, tokens: Tensor, facts: Tensor) -> tuple[Tensor, float | None]:
        """Loss of tokens [N, width] against facts [N, facts], and the share read off correctly.

        The share is over the tokens whose first judged fact isn't 0: where there is something; None
        where there is nothing anywhere.
        """
        parts = torch.split(self.linear(tokens), self.sizes, dim=-1)
        losses = [
            nn.functional.cross_entropy(part.float(), facts[:, i], _weights(part))
            for i, part in enumerate(parts)
        ]
        right = torch.stack([p.argmax(-1) == facts[:, i] for i, p in enumerate(parts)])
        something = facts[:, self.judged][:, 0] != 0
        if not bool(something.any()):
            return torch.stack(losses).sum(), None
        share = right[self.judged].all(0)[something].float().mean()
        return torch.stack(losses).sum(), float(share)


def verdict_loss(judge: nn.Linear, judged: Tensor, batch: Batch) -> tuple[Tensor, float | None]:
    """Loss of telling true claims from false ones, and the share told right; None without any."""
    texts = judged[:, -batch.text.shape[1] :] if batch.text.shape[1] else judged[:, :0]
    ends = batch.verdicts != IGNORED
    if not bool(ends.any()):
        return judged.sum() * 0.0, None
    scores = judge(texts[ends]).float()[:, 0]
    truth = batch.verdicts[ends].float()
    loss = nn.functional.binary_cross_entropy_with_logits(scores, truth)
    return loss, float(((scores > 0) == (truth > 0.5)).float().mean())


def _weights(scores: Tensor) -> Tensor:
    weights = torch.ones(scores.shape[-1], device=scores.device)
    weights[0] = NOTHING_WEIGHT
    return weights
