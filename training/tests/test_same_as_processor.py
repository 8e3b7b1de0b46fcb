"""What training feeds the model is what the stock processor and the stock forward pass feed it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.shapes.render import render
from training.batches import SCALES, Batch, Shape, head_positions
from training.model import SIDE, pixels_of
from training.objective import attention_mask, embed, exact_matches, run_layers
from training.packing import IGNORED
from training.world.random_scripts import draw_script

from .parts import batch_of, parts, prompt

SHAPE = Shape(videos=3, frames=3, text=200, out_of_domain=0.0)
EARLIER = (("What colour is the circle?", "It is a red circle."),)


def one() -> Batch:
    return batch_of(4, SHAPE)


@pytest.mark.parametrize("scale", sorted({*SCALES}))
@pytest.mark.parametrize("earlier", [(), EARLIER])
def test_pixels_tokens_positions_and_embeddings_are_those_of_the_processor(
    scale: float, earlier
) -> None:
    codec, processor, model = parts()
    frames = 4
    clip = render(draw_script(3, "train"), np.linspace(0, 1, frames), round(SIDE * scale))
    text = "Where does it end up?"
    asked = prompt(text, earlier)
    stock = processor(text=asked, videos=[clip], return_tensors="pt")
    pixels = pixels_of([clip], processor.video_processor)
    assert torch.equal(stock["pixel_values_videos"].flatten(), pixels.flatten())
    shape = Shape(videos=1, frames=frames)
    behind = codec.question(text, earlier)
    ids = stock["input_ids"][0].tolist()
    assert ids[: len(codec.prefix)] == codec.prefix
    assert ids[shape.prefix :] == behind
    # The newline has a place, too.
    assert ids.count(codec.video) == frames * 16 + 1
    taken = {}

    def take(_module, _args, kwargs):
        taken.update(kwargs)

    hook = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    with torch.no_grad():
        model(**stock)
        hook.remove()
        batch = replace(one(), pixels=pixels, text=torch.tensor([behind]))
        ours, prefix = embed(model, batch, codec)
    assert prefix == shape.prefix
    assert torch.equal(ours, taken["inputs_embeds"])
    head = head_positions(np.arange(frames), frames)
    stand = torch.cat([head, head[:, -1:] + 1 + torch.arange(len(behind))], dim=1)
    assert taken["position_ids"] is None  # one behind the other
    assert torch.equal(stand, torch.arange(len(ids))[None])


def test_packed_answers_have_the_logits_of_questions_asked_alone() -> None:
    codec, processor, model = parts()
    batch = batch_of(6, replace(SHAPE, videos=1))
    assert any(q.earlier for row in batch.questions for q in row)
    with torch.no_grad():
        packed = run_layers(model, batch, *embed(model, batch, codec)).logits
    # Words of claims are learned too: only the answers' are compared.
    packed = packed[batch.answered[batch.labels != IGNORED]]
    done = 0
    for row, questions in enumerate(batch.questions):
        for question in questions:
            ids = processor(
                text=prompt(question.text, question.earlier),
                videos=[np.zeros((3, 64, 64, 3), dtype=np.uint8)],
                return_tensors="pt",
            )["input_ids"]
            answer = codec.answer(question.answer)
            ids = torch.cat([ids, torch.tensor([answer[:-1]])], dim=1)
            with torch.no_grad():
                alone = model(
                    input_ids=ids,
                    pixel_values_videos=batch.pixels[row : row + 1],
                    attention_mask=torch.ones_like(ids),
                    logits_to_keep=len(answer),
                ).logits[0]
            torch.testing.assert_close(
                packed[done : done + len(answer)], alone, atol=5e-5, rtol=1e-3
            )
            done += len(answer)
    assert done == len(packed)


def test_a_question_sees_nothing_of_the_others() -> None:
    codec, _, model = parts()
    batch = one()
    changed = replace(batch, text=batch.text.clone())
    changed.text[batch.segments != 1] = 7
    kept = (batch.segments == 1)[batch.labels != IGNORED]
    with torch.no_grad():
        before, after = (
            run_layers(model, b, *embed(model, b, codec)).logits for b in (batch, changed)
        )
    assert torch.equal(before[kept], after[kept])
    assert not torch.equal(before[~kept], after[~kept])


def test_mask_by_hand() -> None:
    segments, dropped = torch.tensor([[0, 0, 1, -1]]), torch.zeros(1, 6, dtype=torch.bool)
    mask = attention_mask(segments, 2, dropped)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    # A dropped token is attended to by itself alone, and attends to all it may.
    dropped[0, 1] = True
    without = [[seen * (key != 1 or query == 1) for key, seen in enumerate(row)]
               for query, row in enumerate(mask)]  # fmt: skip
    assert attention_mask(segments, 2, dropped)[0, 0].int().tolist() == without


def test_exact_counts_a_question_right_only_if_every_token_of_its_answer_is() -> None:
    batch = one()
    asked = batch.labels != IGNORED
    vocabulary = len(parts()[1].tokenizer)
    logits = torch.nn.functional.one_hot(batch.labels[asked], vocabulary).float()
    assert all(right for _, right in exact_matches(logits, batch))
    answered = batch.answered[asked]
    claimed = logits.clone()
    claimed[~answered] = 0
    assert all(right for _, right in exact_matches(claimed, batch))
    logits[answered.nonzero()[0]] = 0
    answers = exact_matches(logits, batch)
    assert [right for _, right in answers].count(False) == 1
    assert answers[0] == (batch.questions[0][0].kind, False)
