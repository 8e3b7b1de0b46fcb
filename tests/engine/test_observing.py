"""Certainty and divergence, against logits that are computed beside them."""

import math

import pytest
import torch

from dycoke_cli import EVS, DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.engine import observing
from dycoke_cli.engine.observing import (
    CertaintyObserver,
    EachObserver,
    ForcingObserver,
    ReferenceObserver,
)
from tests.exactness import in_float64
from tests.natural import Pictures, pan

QUESTION = "What happens in the video?"


def scores_of(*rows):
    return torch.tensor([rows], dtype=torch.float64).log()


def test_certainty_by_hand():
    observer = CertaintyObserver()
    for scores in (scores_of(0.7, 0.2, 0.1), scores_of(0.5, 0.4, 0.1), scores_of(0.01, 0.99, 0.0)):
        assert observer(None, scores) is scores
    two = observer.certainty(0, 2)
    assert two.least_probability == pytest.approx(0.5)
    assert two.least_margin == pytest.approx(0.1)
    assert two.mean_log_probability == pytest.approx(torch.tensor([0.7, 0.5]).log().mean())


def test_divergence_by_hand_and_the_forced_token():
    reference = ReferenceObserver()
    reference(None, scores_of(0.7, 0.2, 0.1))
    forcing = ForcingObserver(reference.reference())
    forced = forcing(None, scores_of(0.1, 0.2, 0.7))
    assert forced.argmax() == 0
    assert forced[0, 1] == -torch.inf
    assert forcing.divergence == pytest.approx(0.6 * float(torch.tensor(7.0).log()), rel=1e-5)
    assert not forcing.agrees


def test_what_is_behind_the_likeliest_tokens_counts_as_one(monkeypatch):
    """Two of four are kept: the others are .2 of the one distribution and .5 of the other."""
    monkeypatch.setattr(observing, "MOST_KEPT", 2)
    reference = ReferenceObserver()
    reference(None, scores_of(0.1, 0.5, 0.1, 0.3))
    assert reference.reference().indices.tolist() == [[1, 3]]
    forcing = ForcingObserver(reference.reference())
    forcing(None, scores_of(0.4, 0.25, 0.1, 0.25))
    by_hand = 0.5 * math.log(0.5 / 0.25) + 0.3 * math.log(0.3 / 0.25) + 0.2 * math.log(0.2 / 0.5)
    assert forcing.divergence == pytest.approx(by_hand, rel=1e-5)


def test_a_divergence_is_the_mean_and_one_other_token_is_enough_to_disagree():
    reference = ReferenceObserver()
    for _ in range(2):
        reference(None, scores_of(0.7, 0.2, 0.1))
    forcing = ForcingObserver(reference.reference())
    forcing(None, scores_of(0.7, 0.2, 0.1))
    assert forcing.agrees
    forcing(None, scores_of(0.1, 0.2, 0.7))
    assert not forcing.agrees
    assert forcing.divergence == pytest.approx(0.3 * math.log(7), rel=1e-5)
    # What is watched is the compressed model, not the forced token.
    assert forcing.certainty(0, 2).least_probability == pytest.approx(0.7)


@pytest.fixture(scope="module")
def session():
    loaded = load("mini", device="cpu", dtype="float32")
    in_float64(loaded.model)
    return VideoSession(loaded, Pictures.of(pan(8)))


def test_an_answer_doesnt_change_while_it_is_watched(session):
    observer = ReferenceObserver()
    watched = session.ask(QUESTION, Uncompressed(), observer=observer)
    assert watched.answer == session.ask(QUESTION, Uncompressed()).answer
    assert len(observer.reference().tokens) == watched.tokens.generated


@pytest.mark.parametrize("method", [EVS(retain=0.1), DyCoke(merge_ratio=0.9, prune_layer=2)])
def test_forcing_says_whether_the_free_answer_is_the_same(session, method):
    reference = ReferenceObserver()
    plain = session.ask(QUESTION, Uncompressed(), observer=reference)
    forcing = ForcingObserver(reference.reference())
    forced = session.ask(QUESTION, method, observer=forcing, max_new_tokens=plain.tokens.generated)
    free = session.ask(QUESTION, method)
    assert forced.answer == plain.answer
    assert forcing.agrees == (free.answer == plain.answer)
    assert forcing.divergence >= 0


def test_nothing_diverges_from_itself(session):
    reference = ReferenceObserver()
    plain = session.ask(QUESTION, Uncompressed(), observer=reference)
    forcing = ForcingObserver(reference.reference())
    session.ask(QUESTION, Uncompressed(), observer=forcing, max_new_tokens=plain.tokens.generated)
    assert forcing.agrees
    assert forcing.divergence < 1e-9


def test_each_sequence_of_a_batch_has_its_own_observer():
    reference = ReferenceObserver()
    reference(None, scores_of(0.1, 0.2, 0.7))
    watching, forcing = CertaintyObserver(), ForcingObserver(reference.reference())
    ids, scores = torch.zeros(2, 5), torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]).log()
    seen = EachObserver([watching, forcing])(ids, scores)
    assert torch.equal(seen[0], scores[0])
    assert seen[1].tolist() == [-torch.inf, -torch.inf, 0.0]
    assert watching.certainty(0, 1).least_probability == pytest.approx(0.7)
    assert forcing.certainty(0, 1).least_probability == pytest.approx(0.6)
