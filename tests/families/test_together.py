"""Questions asked together, about videos and in words of unequal length: as one by one."""

from __future__ import annotations

import pytest

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.errors import UsageError
from tests.families.sessions import (
    assert_as_alone,
    loaded_of,
    method_of,
    positions_of,
    questions_of,
    runs,
    same,
)
from tests.families.stock import clip
from tests.families.tiny import MAKERS


@pytest.mark.parametrize(
    ("family", "name", "frames"),
    [
        *((f, name, (1, 4, 5)) for f in MAKERS for name in ("none", *runs(f))),
        # The widest padding: with the method that does most.
        *((f, ("none", *runs(f))[-1], (12, 2, 12)) for f in MAKERS),
    ],
)
def test_three_unequal_ones_are_answered_as_alone(family, name, frames) -> None:
    questions = questions_of(loaded_of(family), frames)
    for positions in positions_of(family):
        method = Uncompressed() if name == "none" else method_of(name, positions)
        assert_as_alone(questions, method, max_tokens=4)


def test_one_video_several_questions_and_a_history() -> None:
    loaded = loaded_of("llava_onevision")
    session = VideoSession(loaded, clip(5))
    history = (("What is it?", "A dog."),)
    questions = [
        Question(session, "Why?"),
        Question(session, "And then?", history),
        Question(session, "Who?"),
    ]
    assert_as_alone(questions, DyCoke(prune_layer=2), max_tokens=5)


def test_an_answer_that_ends_early_is_counted_to_its_end() -> None:
    loaded = loaded_of("llava_onevision")
    sessions = [VideoSession(loaded, clip(f, f)) for f in (5, 8)]
    questions = [Question(s, "Why?") for s in sessions]
    method = DyCoke(prune_layer=2, recall_threshold=1.0)
    first = ask_together(questions, method, GenerationOptions(max_tokens=12))
    pieces = [loaded.processor.tokenizer.encode(a.answer) for a in first]
    config = loaded.model.generation_config
    # A token that the first answer has in its middle, and the second one doesn't have, ends it.
    end = next(t for t in pieces[0][3:-1] if t not in pieces[1] and pieces[0].index(t) > 2)
    config.eos_token_id = end
    try:
        together = ask_together(questions, method, GenerationOptions(max_tokens=12))
        alone = [s.ask("Why?", method, max_tokens=12) for s in sessions]
    finally:
        config.eos_token_id = None
    assert [a.finish_reason for a in together] == ["stop", "length"]
    assert together[0].tokens.generated < together[1].tokens.generated == 12
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


def test_two_models_are_refused() -> None:
    sessions = [VideoSession(loaded_of(f), clip(2)) for f in ("llava_onevision", "internvl")]
    with pytest.raises(UsageError, match="need one model"):
        ask_together([Question(s, "Why?") for s in sessions], DyCoke())
