"""A trace says what the masked reference attended to, and what came and went."""

import json

import pytest

from dycoke_cli import DyCoke, FastV, Uncompressed, VideoSession, load
from dycoke_cli.engine.attach import attach
from dycoke_cli.engine.trace import check_traceable, text_pieces
from dycoke_cli.errors import UsageError
from tests.exactness import EPS
from tests.natural import CLIPS

from .reference import Reference
from .test_session import Pictures
from .tiny import SHAPES, make_inputs, make_model, prompt_rows

NEW_TOKENS = 9

CASES = [
    {},
    {"recall_threshold": 1.0},
    {"recall_threshold": 0.5},
    {"recall": False},
    {"prune_ratio": 0.0},
    {"ttm": False, "prune_ratio": 0.5, "prune_layer": 3},
    {"variant": "published", "recall_threshold": 0.7},
]


def test_a_trace_of_what_may_be_left_off_is_refused():
    with pytest.raises(
        UsageError, match="a trace needs decode pruning at any length: set prune_from to 0"
    ):
        check_traceable(DyCoke(prune_layer=2, prune_from=1))


@pytest.mark.parametrize("clip", [None, *CLIPS])
@pytest.mark.parametrize("parameters", CASES)
def test_it_is_what_the_reference_did(clip, parameters):
    shape, frames = SHAPES[1], 6
    model = make_model(shape, seed=3)
    inputs = make_inputs(shape, frames, clip=CLIPS[clip](frames) if clip else None)
    method = DyCoke(**{"prune_layer": 2} | parameters)
    embeds, visual = prompt_rows(model, shape, inputs)
    _, _, choice = Reference(model).generate(
        embeds,
        visual,
        embeds[visual.start : visual.stop].view(frames, shape.tokens_per_frame, -1),
        new_tokens=NEW_TOKENS,
        merge_ratio=method.merge_ratio if method.ttm else None,
        prune_ratio=method.prune_ratio,
        prune_layer=method.prune_layer,
        threshold=method.recall_threshold,
        recall=method.recall,
        published=method.variant == "published",
    )
    with attach(model, method, trace=True) as attachment:
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    trace = attachment.recorder.trace([str(i) for i in range(NEW_TOKENS)])

    def by_frame(tokens, numbers):
        sums = [0.0] * frames
        for token, number in zip(tokens, numbers, strict=True):
            sums[choice.kept[token] // shape.tokens_per_frame] += number
        return sums

    read = range(len(choice.kept))
    assert (trace.layer, trace.frames) == (method.prune_layer - 1, frames)
    assert trace.tokens_per_frame == shape.tokens_per_frame
    assert list(trace.kept) == by_frame(read, [1] * len(read))
    assert (trace.first_text, [step.text for step in trace.steps]) == ("0", [*"12345678"])
    before = set(read)
    for step, attention, active in zip(trace.steps, choice.attention, choice.active, strict=True):
        assert step.attention == pytest.approx(by_frame(read, attention), abs=EPS)
        assert list(step.active) == by_frame(active, [1] * len(active))
        now = set(active)
        assert list(step.evicted) == sorted(choice.kept[token] for token in before - now)
        assert list(step.recalled) == sorted(choice.kept[token] for token in now - before)
        before = now
    stats = attachment.stats[0]
    assert sum(step.renewed for step in trace.steps) == stats.choices_renewed
    assert sum(len(step.evicted) for step in trace.steps) == stats.tokens_evicted
    assert sum(len(step.recalled) for step in trace.steps) == stats.tokens_recalled


def test_the_cases_renew_at_some_steps_and_recall():
    # Otherwise much of the test above could not fail.
    model, inputs = make_model(SHAPES[1], seed=3), make_inputs(SHAPES[1], 6, clip=CLIPS["cut"](6))
    with DyCoke(prune_layer=2, recall_threshold=0.5)(model) as attachment:
        model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
    assert 0 < attachment.stats[0].choices_renewed < NEW_TOKENS - 2
    assert attachment.stats[0].tokens_recalled > 0


@pytest.fixture(scope="module")
def session():
    loaded = load("mini", device="cpu", dtype="float32")
    return VideoSession(loaded, Pictures(CLIPS["cut"](8), tuple(range(8))))


def test_of_a_session(session):
    method = DyCoke(prune_layer=2, recall_threshold=1.0)
    traced = session.ask("What happens?", method, max_new_tokens=12, trace=True)
    plain = session.ask("What happens?", method, max_new_tokens=12)
    trace = traced.trace
    assert plain.trace is None
    assert traced.answer == plain.answer
    assert traced.to_dict().keys() == plain.to_dict().keys()
    assert "trace" not in plain.to_dict()
    texts = [trace.first_text, *(step.text for step in trace.steps)]
    assert "".join(texts).strip() == traced.answer
    assert len(trace.steps) == traced.decode.steps > 2
    assert sum(trace.kept) == traced.tokens.visual_kept
    assert sum(len(step.evicted) for step in trace.steps) == traced.decode.tokens_evicted
    document = json.loads(json.dumps(trace.to_dict()))
    assert document["schema"] == "dycoke.trace/1"
    assert document["steps"][0]["attention"] == list(trace.steps[0].attention)


@pytest.mark.parametrize("method", [Uncompressed(), FastV(), DyCoke(kv_prune=False)])
def test_of_a_method_without_decode_pruning(session, method):
    with pytest.raises(UsageError, match=f"the method {method.name} doesn't do as it is set"):
        session.ask("What happens?", method, trace=True)


def test_pieces_of_characters_wait_for_the_rest():
    class Bytes:
        def decode(self, tokens, skip_special_tokens):
            assert skip_special_tokens
            return bytes(token for token in tokens if token).decode(errors="replace")

    tokens = [*"aé b".encode(), 0]
    assert text_pieces(Bytes(), tokens) == ["a", "", "é", " ", "b", ""]


def test_nothing_is_taken_down_unless_asked():
    model = make_model(SHAPES[0])
    with DyCoke(prune_layer=2)(model) as attachment:
        model.generate(**make_inputs(SHAPES[0], 4), max_new_tokens=4, do_sample=False)
    assert attachment.recorder is None
