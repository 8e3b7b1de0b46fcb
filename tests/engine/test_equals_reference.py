"""Attached to a stock model, any choice gives the tokens and logits of the masked reference.

And its trace says what the reference attended to, and what came and went.
"""

from itertools import product

import pytest

from dycoke_cli import DyCoke
from dycoke_cli.engine.attach import attach
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.exactness import EPS, assert_generated, generated
from tests.families.stock import Masked
from tests.marks import EXTENDED
from tests.natural import CLIPS

NEW_TOKENS = 6

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
    (1, 6, {"prune_layer": 2, "recall_threshold": 0.5}),
    (0, 9, {"variant": "published", "prune_layer": 2, "recall_threshold": 0.7}),
    (1, 6, {"variant": "published", "kv_prune": False}),
]


@pytest.mark.parametrize(
    ("shape", "frames", "parameters"),
    CASES,
)
def test_noise(shape, frames, parameters):
    check_equal(SHAPES[shape], make_inputs(SHAPES[shape], frames, seed=frames), frames, parameters)


@pytest.mark.parametrize(
    ("clip", "frames"),
    [
        pytest.param(*case, marks=() if case in (("pan", 9), ("cut", 6)) else EXTENDED)
        for case in product(CLIPS, (6, 9))
    ],
)
def test_natural_pictures(clip, frames):
    shape = SHAPES[1]
    inputs = make_inputs(shape, frames, clip=CLIPS[clip](frames))
    check_equal(shape, inputs, frames, {"prune_layer": 2})


def check_equal(shape, inputs, frames, parameters):
    """Tokens, logits, choices and trace of an attached model are those of the reference."""
    model = make_model(shape, seed=frames)
    method, reference = DyCoke(**parameters), Masked(model, inputs, frames)
    tokens, logits, actives = reference.generate_by(method, NEW_TOKENS)
    with method(model) as attachment:
        output = generated(model, inputs, NEW_TOKENS)
    assert_generated(output, tokens, logits)
    assert attachment.stats[0].visual_kept == len(reference.kept)
    assert attachment.stats[0].active == [len(active) for active in actives]
    if method.kv_prune:
        check_trace(model, inputs, method, reference, actives)


def check_trace(model, inputs, method, reference, actives):
    layer = method.prune_layer - 1
    with attach(model, method, trace=layer) as attachment:
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    trace = attachment.recorder.trace([str(i) for i in range(NEW_TOKENS)])
    kept = reference.kept
    assert (trace.layer, trace.kept) == (layer, tuple(sorted(kept)))
    prefill, *steps = trace.steps
    assert (prefill.active, prefill.evicted, prefill.recalled) == (trace.kept, (), ())
    assert "".join(step.text for step in trace.steps) == "012345"
    before = set(kept)
    for step, attention, active in zip(steps, reference.attention, actives, strict=True):
        by_token = dict(zip(kept, attention, strict=True))
        expected = [float(by_token[token]) for token in trace.kept]
        assert list(step.attention) == pytest.approx(expected, abs=EPS)
        now = {kept[token] for token in active}
        assert list(step.active) == sorted(now)
        assert list(step.evicted) == sorted(before - now)
        assert list(step.recalled) == sorted(now - before)
        before = now
    stats = attachment.stats[0]
    assert sum(step.reselected for step in trace.steps) == stats.choices_renewed
    assert sum(len(step.evicted) for step in trace.steps) == stats.tokens_evicted
    assert sum(len(step.recalled) for step in trace.steps) == stats.tokens_recalled
