"""Attached to a stock model, any choice gives the tokens and logits of the masked reference."""

from itertools import product

import pytest

from dycoke_cli import DyCoke
from tests.engine.reference import Reference
from tests.engine.tiny import SHAPES, make_inputs, make_model, prompt_rows
from tests.exactness import assert_generated, generated
from tests.natural import CLIPS

NEW_TOKENS = 9

CASES = [
    # shape, frames, parameters
    (0, 33, {"merge_ratio": 0.0, "prune_ratio": 0.0, "prune_layer": 2}),
    (0, 1, {"merge_ratio": 0.7, "prune_ratio": 0.7, "prune_layer": 2}),
    (0, 4, {"merge_ratio": 0.7, "prune_ratio": 0.5, "prune_layer": 1}),
    (0, 33, {"merge_ratio": 0.7, "prune_ratio": 0.7, "prune_layer": 3}),
    (1, 6, {"merge_ratio": 0.5, "prune_ratio": 0.9, "prune_layer": 2}),
    (1, 8, {"merge_ratio": 0.7, "prune_ratio": 0.7, "prune_layer": 3, "recall_threshold": 1.0}),
    (2, 8, {"merge_ratio": 0.7, "prune_ratio": 0.7, "prune_layer": 3, "positions": "kept"}),
    (0, 8, {"merge_ratio": 0.7, "prune_ratio": 0.7, "prune_layer": 2, "recall": False}),
    (1, 8, {"kv_prune": False, "merge_ratio": 0.7}),
    (1, 8, {"ttm": False, "prune_ratio": 0.7, "prune_layer": 2}),
    (0, 9, {"variant": "published", "prune_layer": 2, "recall_threshold": 0.7}),
    (1, 6, {"variant": "published", "kv_prune": False}),
]


@pytest.mark.parametrize(
    ("shape", "frames", "parameters"),
    CASES,
)
def test_noise(shape, frames, parameters):
    check_equal(SHAPES[shape], make_inputs(SHAPES[shape], frames, seed=frames), frames, parameters)


@pytest.mark.parametrize(("clip", "frames"), [*product(CLIPS, (6, 9))])
def test_natural_pictures(clip, frames):
    shape = SHAPES[1]
    inputs = make_inputs(shape, frames, clip=CLIPS[clip](frames))
    check_equal(shape, inputs, frames, {"prune_layer": 2})


def check_equal(shape, inputs, frames, parameters):
    """Tokens, logits and choices of an attached model are those of the reference."""
    model = make_model(shape, seed=frames)
    embeds, visual = prompt_rows(model, shape, inputs)
    method = DyCoke(**parameters)
    tokens, logits, choice = Reference(model).generate(
        embeds,
        visual,
        embeds[visual.start : visual.stop].view(frames, shape.tokens_per_frame, -1),
        new_tokens=NEW_TOKENS,
        merge_ratio=method.merge_ratio if method.ttm else None,
        prune_ratio=method.prune_ratio if method.kv_prune else None,
        prune_layer=method.prune_layer,
        threshold=method.recall_threshold,
        recall=method.recall,
        kept_positions=method.positions == "kept",
        published=method.variant == "published",
    )
    with method(model) as attachment:
        output = generated(model, inputs, NEW_TOKENS)
    assert_generated(output, tokens, logits)
    assert attachment.stats[0].visual_kept == len(choice.kept)
    assert attachment.stats[0].active == [len(active) for active in choice.active]
