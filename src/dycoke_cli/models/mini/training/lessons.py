"""The readers of all lessons besides the answers, and what a batch costs them."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from dycoke_cli.models.mini.training.architecture import TEXT_WIDTH
from dycoke_cli.models.mini.training.batches import Batch
from dycoke_cli.models.mini.training.choosing import CHOSEN, THE_RIGHT_ONE
from dycoke_cli.models.mini.training.facts import CHANGED, EARLIER, KNOWN, LAST_EVENT, SEEN
from dycoke_cli.models.mini.training.naming import NAMED
from dycoke_cli.models.mini.training.objective import Read, verdict_loss, visual_tokens
from dycoke_cli.models.mini.training.placing import PLACES
from dycoke_cli.models.mini.training.readers import Reader
from dycoke_cli.models.mini.training.recipe import Recipe
from dycoke_cli.models.mini.training.tokenizer import Codec

# What the lessons are called among the kinds of questions.
SEEING, COMPARING, KNOWING = "seeing", "comparing", "knowing"
REMEMBERING, NAMING, JUDGING = "remembering", "naming", "judging"
PLACING, SEEKING, CHOOSING = "placing", "seeking", "choosing"
LESSONS = (SEEING, COMPARING, KNOWING, REMEMBERING, NAMING, PLACING, SEEKING, JUDGING, CHOOSING)

# A lesson's name, its loss as it counts, and the share told right; None where nothing was to tell.
Lesson = tuple[str, Tensor, float | None]


class Lessons(nn.Module):
    """A linear reader for each lesson; thrown away with the run."""

    def __init__(self, recipe: Recipe, codec: Codec) -> None:
        super().__init__()
        self._recipe, self._codec = recipe, codec
        self.seer, self.knower = Reader(SEEN, slice(0, 2)), Reader(KNOWN, LAST_EVENT)
        self.comparer, self.rememberer = Reader(CHANGED), Reader(EARLIER)
        self.namer, self.judge = Reader(NAMED), nn.Linear(TEXT_WIDTH, 1)
        self.placer, self.seeker = Reader((PLACES,)), Reader((PLACES,))
        self.chooser = Reader(CHOSEN, THE_RIGHT_ONE)

    def seeing(self, inputs: Tensor, prefix: int, batch: Batch) -> Lesson:
        """Behind the projector: what is there. The inputs are those of the language model."""
        tokens = visual_tokens(inputs, prefix, self._codec)
        loss, told = self.seer.loss(tokens, batch.seen.flatten(0, 2))
        return SEEING, loss if batch.eyes_only else self._recipe.seeing * loss, told

    def inside(self, found: Read, prefix: int, batch: Batch) -> Iterator[Lesson]:
        """Inside the language model: all the others that the batch has something for."""
        recipe = self._recipe
        for lesson, reader, layer, facts in (
            (COMPARING, self.comparer, found.changed, batch.changed),
            (KNOWING, self.knower, found.known, batch.known),
            (REMEMBERING, self.rememberer, found.earlier, batch.earlier),
        ):
            tokens = visual_tokens(layer, prefix, self._codec)
            loss, told = reader.loss(tokens, facts.flatten(0, 2))
            yield lesson, recipe.knowing * loss, told
        placed, sought = batch.placed[..., None], batch.sought[..., None]
        for lesson, reader, layer, facts, weight in (
            (NAMING, self.namer, found.named, batch.named, recipe.knowing),
            (PLACING, self.placer, found.earlier, placed, recipe.placing),
            (SEEKING, self.seeker, found.late, sought, recipe.placing),
            (CHOOSING, self.chooser, found.late, batch.chosen, recipe.placing),
        ):
            settled = facts[..., 0] > 0
            if bool(settled.any()):
                loss, told = reader.loss(layer[:, prefix:][settled], facts[settled])
                yield lesson, weight * loss, told
        if batch.text.shape[1]:
            loss, told = verdict_loss(self.judge, found.late, batch)
            yield JUDGING, recipe.judging * loss, told
