"""What training feeds the model is what the stock processor and the stock forward pass feed it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dycoke_cli.models.mini.architecture import FRAME_TOKENS, build_model, build_processor
from dycoke_cli.models.mini.batches import (
    IGNORED,
    Batch,
    Shape,
    draw_clip,
    make_batch,
    prefix_length,
    to_pixels,
)
from dycoke_cli.models.mini.objective import answer_logits, attention_mask, embed, exact
from dycoke_cli.models.mini.tokenizer import Codec, build_tokenizer
from dycoke_cli.models.mini.world import draw_script

SHAPE = Shape(videos=2, frames=3, text=96)


@pytest.fixture(scope="module")
def parts():
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    return Codec(tokenizer), build_processor(tokenizer), build_model(tokenizer).eval()


def one(parts, seed: int = 4) -> Batch:
    codec, processor, _ = parts
    return make_batch([seed], SHAPE, "train", codec, processor.video_processor)


def prompt(processor, question: str) -> str:
    content = [{"type": "video"}, {"type": "text", "text": question}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )


@pytest.mark.parametrize("side", [64, 128, 256])
def test_pixels_tokens_and_embeddings_are_those_of_the_processor(parts, side: int):
    codec, processor, model = parts
    rng = np.random.default_rng(1)
    clip = draw_clip(draw_script(3, "train", 2), np.linspace(0, 1, 3), side, rng)
    text = "What does the red circle do?"
    stock = processor(text=prompt(processor, text), videos=[clip], return_tensors="pt")
    pixels = to_pixels(clip, processor.video_processor)
    assert torch.equal(stock["pixel_values_videos"][0], pixels)
    ids = [*codec.prefix, *[codec.video] * (3 * FRAME_TOKENS + 1), *codec.question(text)]
    assert stock["input_ids"][0].tolist() == ids
    assert prefix_length(3) == len(codec.prefix) + 3 * FRAME_TOKENS + 1
    taken = {}

    def take(_module, _args, kwargs):
        taken["embeds"] = kwargs["inputs_embeds"]

    hook = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    with torch.no_grad():
        model(**stock)
        hook.remove()
        behind = torch.tensor([codec.question(text)])
        batch = Batch(False, pixels[None], *[behind] * 7, [])
        ours, prefix = embed(model, batch, codec)
    assert prefix == prefix_length(3)
    assert torch.equal(ours, taken["embeds"])


def test_packed_answers_have_the_logits_of_questions_asked_alone(parts):
    codec, processor, model = parts
    batch = one(parts)
    with torch.no_grad():
        packed, _ = answer_logits(model, batch, *embed(model, batch, codec))
    done = 0
    for row, questions in enumerate(batch.questions):
        for question in questions:
            ids = processor(
                text=prompt(processor, question.text),
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
                packed[done : done + len(answer)], alone, atol=2e-5, rtol=1e-4
            )
            done += len(answer)
    assert done == len(packed)


def test_a_question_sees_nothing_of_the_others(parts):
    codec, _, model = parts
    batch = one(parts)
    changed = replace(batch, text=batch.text.clone())
    others = batch.segments != 1
    changed.text[others] = 7
    kept = (batch.segments == 1)[batch.labels != IGNORED]
    with torch.no_grad():
        before, after = (
            answer_logits(model, b, *embed(model, b, codec))[0] for b in (batch, changed)
        )
    assert torch.equal(before[kept], after[kept])
    assert not torch.equal(before[~kept], after[~kept])


def test_mask_by_hand():
    mask = attention_mask(torch.tensor([[0, 0, 1, -1]]), prefix=2)[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


def test_exact_counts_a_question_right_only_if_every_token_is(parts):
    batch = one(parts)
    wanted = batch.labels[batch.labels != IGNORED]
    logits = torch.nn.functional.one_hot(wanted, 100).float()
    assert all(right for _, right in exact(logits, batch))
    logits[0] = 0
    answers = exact(logits, batch)
    assert [right for _, right in answers].count(False) == 1
    assert answers[0] == (batch.questions[0][0].kind, False)


def test_a_batch_is_that_of_its_seed(parts):
    a, b, c = one(parts, 4), one(parts, 4), one(parts, 5)
    assert torch.equal(a.pixels, b.pixels)
    assert torch.equal(a.text, b.text)
    assert not torch.equal(a.text, c.text)
