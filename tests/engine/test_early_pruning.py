"""An answer of several words says where one early layer chose what it could read."""

from __future__ import annotations

import pytest

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.compression.method import Method
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import CLIP

SENTENCE = "KV pruning from layer 3 of 10 can lose details"


@pytest.fixture(scope="module")
def session() -> VideoSession:
    return VideoSession(load("mini"), read(str(CLIP), Sampling(frames=8)))


@pytest.mark.parametrize(
    ("method", "tokens", "warned"),
    [
        (DyCoke(prune_layer=3), 12, True),
        (DyCoke(prune_layer=3), 4, False),
        (DyCoke(prune_layer=5), 12, False),
        (DyCoke(prune_layer=3, kv_prune=False), 12, False),
    ],
    ids=["early", "few words", "upper half", "stage 1"],
)
def test_an_early_layer_and_a_long_answer(
    session: VideoSession, method: Method, tokens: int, warned: bool
) -> None:
    told = session.ask("Describe the video.", method, max_tokens=tokens)
    assert told.tokens.generated == tokens
    assert any(SENTENCE in one for one in told.warnings) is warned
