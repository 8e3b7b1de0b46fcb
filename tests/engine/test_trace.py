"""The trace of a session; against a reference it is in `test_equals_reference.py`."""

from types import SimpleNamespace

import pytest

from dycoke_cli import DyCoke, DyCokePlus, FastV, Uncompressed, VideoSession
from dycoke_cli.engine.generate import Pieces
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.trace import traced_layer
from dycoke_cli.errors import UsageError
from tests.families.sessions import bundled
from tests.natural import CLIPS, Pictures


@pytest.fixture(scope="module")
def session():
    return VideoSession(bundled(), Pictures(CLIPS["cut"](8), tuple(range(8))))


METHODS = [
    Uncompressed(),
    DyCoke(recall_threshold=1.0),
    DyCoke(prune_layer=2, variant="published"),
    FastV(),
    DyCokePlus(retain=0.4),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: str(method.name))
def test_of_a_session(session, method):
    bound = settled(method, session.loaded.info)
    layer = traced_layer(session.loaded.model.get_decoder().config, 9, bound)
    traced = session.ask("What happens?", method, max_tokens=4, trace=layer)
    plain = session.ask("What happens?", method, max_tokens=4)
    trace = traced.trace
    assert plain.trace is None
    assert traced.answer == plain.answer
    assert traced.to_dict().keys() == plain.to_dict().keys()
    assert "trace" not in plain.to_dict()
    assert traced.tokens == plain.tokens
    assert "".join(step.text for step in trace.steps).strip() == traced.answer
    assert len(trace.steps) == traced.tokens.generated > 2
    assert len(trace.kept) == traced.tokens.visual_kept
    assert all(len(step.attention) == len(trace.kept) for step in trace.steps)
    steps = trace.steps[1:]
    if method.inside() is None:
        assert sum(len(step.evicted) for step in steps) == traced.decode.tokens_evicted
        assert sum(len(step.recalled) for step in steps) == traced.decode.tokens_recalled
    else:
        assert len(trace.steps[0].evicted) == len(trace.kept) - len(steps[0].active) > 0
    attended = method.attended_tokens(len(trace.kept))
    for step in steps:
        assert attended <= len(step.active) <= len(trace.kept)


def test_where_tokens_went(session):
    """Of DyCoke into the same place of an earlier frame; of coverage into its window."""
    frames, per_frame = session.video.frames, session.video.tokens_per_frame
    for method, window in ((DyCoke(), 4), (DyCokePlus(retain=0.3), 8)):
        trace = session.ask("What happens?", method, max_tokens=2, trace=1).trace
        into = trace.merged_into
        assert len(into) == frames * per_frame
        for token, target in enumerate(into):
            assert target in trace.kept
            assert (target == token) == (token in trace.kept)
            assert token // per_frame // window == target // per_frame // window
            if method.name == "dycoke":
                assert target % per_frame == token % per_frame
                assert target <= token
    plain = session.ask("What happens?", Uncompressed(), max_tokens=2, trace=1).trace
    assert plain.merged_into is None


def test_the_traced_layer_is_before_any_selection(session):
    config = session.loaded.model.get_decoder().config
    assert traced_layer(config, 9) == 8
    assert traced_layer(config, 9, DyCoke(prune_layer=4), FastV(prune_layer=2)) == 1
    assert traced_layer(config, 9, DyCokePlus()) == 8
    sliding = SimpleNamespace(
        num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2
    )
    assert traced_layer(sliding, 3) == 1
    with pytest.raises(UsageError, match="none of the model's first 1 layers attends to every"):
        traced_layer(sliding, 1)
    for layer in (config.num_hidden_layers, -1):
        with pytest.raises(UsageError, match=rf"index of a layer, 0 to 9, not {layer}$"):
            session.ask("What happens?", Uncompressed(), max_tokens=2, trace=layer)


def test_pieces_of_characters_wait_for_the_rest():
    decoded = []

    class Bytes:
        def decode(self, tokens, skip_special_tokens):
            assert skip_special_tokens
            decoded.append(len(tokens))
            # As of tokenizers that put a space before each word: none is left before the first.
            text = bytes(token for token in tokens if token).decode(errors="replace")
            return text.removeprefix(" ")

    tokens = [*" aé b".encode(), 0]
    assert [*map(Pieces(Bytes()).add, tokens)] == ["", "a", "", "é", " ", "b", ""]
    long = [*b"a long answer", 0, *"né ".encode()] * 64
    pieces = "".join(map(Pieces(Bytes()).add, long))
    # Behind the piece before alone: a long answer costs as much a token as a short one.
    assert max(decoded) <= 4
    assert pieces == Bytes().decode(long, skip_special_tokens=True)
