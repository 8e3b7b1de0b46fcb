"""Methods that merge tokens, or that read the question, in each family, on stock `generate()`.

The reference is a stock model whose shortened prompt is written by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.engine.model_inputs import EmbeddedPrompts
from dycoke_cli.engine.selecting import EncodedVideos
from dycoke_cli.engine.vision import Encoded
from dycoke_cli.models.families import Layout
from tests.exactness import assert_generated, assert_same, generated
from tests.families.sessions import (
    NEW_TOKENS,
    QUESTIONS,
    Read,
    assert_as_alone,
    loaded_of,
    prompt_about,
    questions_of,
    same,
)
from tests.families.stock import (
    NONE_ONLY,
    QUESTION,
    Shorter,
    clip,
    one_of_each_kind,
    placeholders,
    stock_inputs,
)
from tests.families.tiny import MAKERS, make

FAMILIES = [name for name in MAKERS if name not in NONE_ONLY]


@dataclass(frozen=True)
class Pairs(Method):
    """Keeps every other token, which becomes the mean of itself and the next one."""

    name: ClassVar[str] = "pairs"

    backwards: bool = False

    def choose(self, given: SelectionInputs) -> Selection:
        assert given.question is None  # this method doesn't need it
        tokens = given.features.flatten(0, 1)
        kept = torch.arange(0, len(tokens), 2)
        other = (kept + 1).clamp(max=len(tokens) - 1)
        if self.backwards:
            kept, other = kept.flip(0), other.flip(0)
        return Selection(kept, (tokens[kept] + tokens[other]) / 2)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        return (frames * per_frame + 1) // 2


@dataclass(frozen=True)
class Asked(Method):
    """Keeps half of all tokens, and which half depends on how long the question is."""

    name: ClassVar[str] = "asked"
    needs = ("question",)

    renumbered: bool = False
    seen: list[SelectionInputs] = field(default_factory=list, compare=False)
    kept: list[list[int]] = field(default_factory=list, compare=False)

    def choose(self, given: SelectionInputs) -> Selection:
        number = given.features.shape[:2].numel()
        kept = ((torch.arange(number // 2) + len(given.question)) % number).sort().values
        self.seen.append(given)
        self.kept.append(kept.tolist())
        return Selection(kept)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        return frames * per_frame // 2

    def renumbers(self) -> bool:
        return self.renumbered


class MergedByHand(Shorter):
    """Stock `generate()` on the prompt of `Pairs`."""

    def __init__(self, model: Any, inputs: dict[str, torch.Tensor], frames: int) -> None:
        super().__init__(model, inputs, frames)
        old, self.embeds = self.embeds, self.embeds.clone()
        for number in range(0, len(self.visual), 2):
            row = self.visual[number]
            other = self.visual[min(number + 1, len(self.visual) - 1)]
            self.embeds[row] = (old[row] + old[other]) / 2


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES))
def test_merged_tokens_are_read_and_what_deepstack_adds_is_dropped_alike(family) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    frames = prompt_about(model, processor, clip(5)).frames
    reference = MergedByHand(model, inputs, frames)
    kept = [*range(0, len(reference.visual), 2)]
    tokens, logits = reference.generate_shorter(NEW_TOKENS, kept, renumbered=False)
    with Pairs()(model):
        output = generated(model, inputs, NEW_TOKENS)
    assert_generated(output, tokens, logits)
    answer = VideoSession(loaded_of(family), clip(5)).ask(QUESTION, Pairs(), max_tokens=NEW_TOKENS)
    assert answer.answer == processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


UNEQUAL = [*product(("llava_onevision", "internvl", "qwen3_vl"), (Pairs(), Asked()))]


@pytest.mark.parametrize(("family", "method"), one_of_each_kind(UNEQUAL, UNEQUAL[::5]))
def test_three_unequal_ones_are_answered_as_alone(family, method) -> None:
    questions = questions_of(loaded_of(family), (2, 4, 5))
    assert_as_alone(questions, method, max_tokens=NEW_TOKENS)


@pytest.mark.parametrize("family", one_of_each_kind(FAMILIES))
def test_the_question_is_the_text_behind_the_video(family) -> None:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    method = Asked()
    with method(model):
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    shown = placeholders(model, inputs)
    behind = shown[-1] + (2 if family == "llava_onevision" else 1)  # its newline
    with torch.no_grad():
        text = model.get_input_embeddings()(inputs["input_ids"][0, behind:])
    assert_same(method.seen[0].question, text)
    words = processor.tokenizer.decode(inputs["input_ids"][0, behind:])
    assert QUESTION.split()[-1] in words


def test_padding_is_no_part_of_a_question() -> None:
    rows, order = torch.randn(2, 9, 3), torch.arange(4)
    stays = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    layouts = [Layout(order + first, order // 2, order % 2) for first in (3, 1)]
    method = Asked()
    prompts = EmbeddedPrompts(rows, [(layout,) for layout in layouts], stays, tail=1)
    videos = EncodedVideos(None, [[Encoded(torch.zeros(4, 3))]] * 2)
    videos.select(method, prompts)
    assert torch.equal(method.seen[0].question, rows[0, 8:])
    assert torch.equal(method.seen[1].question, rows[1, 6:7])


@pytest.mark.parametrize(
    ("family", "renumbered"),
    one_of_each_kind(
        (("llava_onevision", True), ("internvl", False), ("qwen3_vl", False)),
        (("llava_onevision", True), ("qwen3_vl", False)),
    ),
)
def test_what_was_prefilled_for_one_question_is_not_read_for_another(family, renumbered) -> None:
    """Also where both keep as many tokens, at the same positions."""
    session = VideoSession(loaded_of(family), clip(5))
    method = Asked(renumbered)
    for question in (*QUESTIONS, QUESTIONS[-1]):
        fresh = VideoSession(loaded_of(family), clip(5), reuse=False)
        expected = fresh.ask(question, Asked(renumbered), max_tokens=NEW_TOKENS)
        with Read(session.loaded.model) as read:
            answer = session.ask(question, method, max_tokens=NEW_TOKENS)
        assert same(answer, expected)
        again = method.kept[-1] in method.kept[:-1]
        assert (read.prefilled <= answer.tokens.text) == again
    assert len({tuple(kept) for kept in method.kept}) > 1
    assert method.kept[-1] == method.kept[-2]
