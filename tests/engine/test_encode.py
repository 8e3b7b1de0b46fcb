"""Encoding in chunks gives the rows that the stock model gives in one go."""

from types import SimpleNamespace

import pytest

from dycoke_cli.engine import chunks, vision
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.stock_prompt import VideoPrompt
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_same


def prompt_of(shape, inputs, frames):
    """As if a processor had made it."""
    return VideoPrompt(
        processor=SimpleNamespace(video_processor=None),
        inputs={"pixel_values_videos": inputs["pixel_values_videos"]},
        frames=frames,
        placeholders=frames * shape.tokens_per_frame + 1,
        tokens_per_frame=shape.tokens_per_frame,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frames_a_chunk", [1, 3, 100])
def test_rows_are_those_of_the_stock_model(shape, frames_a_chunk, monkeypatch):
    numbers = 3 * (shape.side * 4) ** 2
    monkeypatch.setattr(chunks, "CHUNK_NUMBERS_CPU", frames_a_chunk * numbers)
    model = make_model(shape)
    inputs = make_inputs(shape, 7)
    embeds, visual = prompt_rows(model, shape, inputs)
    calls = []
    encoded = vision.encode_video(
        model,
        family_of(model.config),
        prompt_of(shape, inputs, 7),
        lambda done, total: calls.append((done, total)),
    )
    rows = encoded.embeddings
    assert encoded.deepstack == ()
    expected = embeds[visual.start : visual.stop + 1]  # with the newline
    assert_same(rows, expected)
    assert (
        calls
        == {
            1: [(n, 7) for n in range(1, 8)],
            3: [(3, 7), (6, 7), (7, 7)],
            100: [(7, 7)],
        }[frames_a_chunk]
    )


def test_the_language_model_does_not_run():
    model = make_model(SHAPES[0])
    ran = []
    model.get_decoder().layers[0].register_forward_pre_hook(lambda *_: ran.append(1))
    prompt = prompt_of(SHAPES[0], make_inputs(SHAPES[0], 2), 2)
    vision.encode_video(model, family_of(model.config), prompt)
    assert ran == []
    assert not model.get_decoder()._forward_pre_hooks
