"""The key of an answer: literal hashes, so that files of every release so far are resumed."""

from __future__ import annotations

from dataclasses import dataclass, make_dataclass, replace
from typing import Any, ClassVar

import pytest

from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.result import Answer
from dycoke_cli.runs.jobs import Asked, Job, Video
from dycoke_cli.runs.outcome import answered, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.video import Sampling, SubtitleSource
from tests.documents import example

ASKED = Asked(None, "What?")
JOB = Job(Video("clips/a.mp4", "clips/a.mp4", "a.mp4"), (ASKED,), "0" * 64)
PLAN = Plan(
    model="mini",
    loading=LoadOptions(),
    sampling=Sampling(),
    method=create("none"),
    generation=GenerationOptions(),
    identity={"name": "mini", "revision": None, "weights": "sha256:0", "dtype": "float32"},
)
# Written by release 0.1.0. They don't change: a file of results would be asked anew.
GOLDEN = [
    ("none", {}, "7975e54e409f41dd716cad0d8ec727c2"),
    ("dycoke", {"prune_layer": 9, "positions": "kept"}, "b73447dc3996c7277ade2729366d5019"),
    ("fastv", {}, "bac32393ccd30a90cb83444d789b1ff7"),
    (
        "random",
        {"prune_layer": 9, "positions": "kept", "draw_seed": 1},
        "9c94cf169958cf12a605e68bf3eb9dac",
    ),
]


@pytest.mark.parametrize(("name", "parameters", "key"), GOLDEN)
def test_keys_of_release_0_1_0(name: str, parameters: dict[str, Any], key: str) -> None:
    assert replace(PLAN, method=create(name, **parameters)).key(JOB, ASKED) == key


def test_key_of_a_question_for_which_everything_was_chosen() -> None:
    chosen = replace(
        PLAN,
        method=DyCoke(merge_ratio=0.5, prune_layer=3),
        sampling=Sampling(fps=2.0, max_frames=9, start_s=1.0),
        generation=GenerationOptions(max_new_tokens=7, temperature=0.5, seed=3),
    )
    assert chosen.key(JOB, Asked("7", "Where?")) == "8917bc1febd10c4c0d6c9967c681474e"


def test_subtitles_are_in_the_key_by_their_content() -> None:
    """Those of the container are part of the video's digest; where a file lies doesn't matter."""
    plain, stream, one, other = (
        PLAN.key(replace(JOB, subtitles=source), ASKED)
        for source in (
            None,
            SubtitleSource(None, required=False),
            SubtitleSource("a.srt", digest="1" * 64),
            SubtitleSource("a.srt", digest="2" * 64),
        )
    )
    assert plain == GOLDEN[0][2]
    assert len({plain, stream, one, other}) == 4
    moved = replace(JOB, subtitles=SubtitleSource("b/a.srt", digest="1" * 64))
    assert PLAN.key(moved, ASKED) == one


def test_a_question_with_a_method_of_its_own_is_asked_by_that() -> None:
    own = Asked(None, "What?", method=create("fastv"))
    assert PLAN.key(JOB, own) == replace(PLAN, method=create("fastv")).key(JOB, ASKED)


@dataclass(frozen=True)
class Later(DyCoke):
    """DyCoke as it may be one day."""

    name: ClassVar[str] = "dycoke"
    strength: float = 1.0


@dataclass(frozen=True)
class LaterSampling(Sampling):
    """Sampling as it may be one day."""

    skip_black: bool = False


def test_a_parameter_of_a_later_release_is_in_the_key_only_where_it_is_used() -> None:
    method: dict[str, Any] = {"prune_layer": 9, "positions": "kept"}
    now = replace(PLAN, method=DyCoke(**method)).key(JOB, ASKED)
    later = replace(PLAN, method=Later(**method), sampling=LaterSampling())
    assert later.key(JOB, ASKED) == now
    assert replace(later, method=Later(**method, strength=0.5)).key(JOB, ASKED) != now
    assert replace(later, sampling=LaterSampling(skip_black=True)).key(JOB, ASKED) != now


@pytest.mark.parametrize("name", METHODS)
def test_no_method_is_asked_again_for_a_parameter_that_is_added(name: str) -> None:
    known = METHODS[name]
    later = make_dataclass("Later", [("strength", float, 1.0)], bases=(known,), frozen=True)
    now = replace(PLAN, method=known()).key(JOB, ASKED)
    assert replace(PLAN, method=later()).key(JOB, ASKED) == now
    assert replace(PLAN, method=later(strength=0.5)).key(JOB, ASKED) != now


def test_all_that_an_answer_depends_on_is_in_the_key() -> None:
    """Where and how fast it runs isn't."""
    assert set(Request.__dataclass_fields__) == {
        "model", "loading", "sampling", "method", "generation", "subtitles"
    }  # fmt: skip
    changes: list[dict[str, Any]] = [
        {"sampling": Sampling(frames=8)},
        {"generation": GenerationOptions(5)},
        *({"method": method()} for name, method in METHODS.items() if name != "none"),
        {"identity": {**PLAN.identity, "dtype": "bfloat16"}},
    ]
    keys = {replace(PLAN, **change).key(JOB, ASKED) for change in changes}
    assert len(keys | {PLAN.key(JOB, ASKED)}) == len(changes) + 1
    same = replace(PLAN, loading=LoadOptions(device="cpu"), batch_size=3, cache=True)
    assert same.key(JOB, ASKED) == PLAN.key(JOB, ASKED)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be 1 or more, not 0"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, not nan"),
        ({"seed": 2**63}, f"seed must be from 0 to {2**63 - 1}, not {2**63}"),
    ],
)
def test_generation_out_of_range(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        GenerationOptions(**values)


def test_advice_is_about_the_flag_that_was_given() -> None:
    """In lines of a batch as well, for a plan is a request."""
    told = "use fewer --frames, or --frames 12 or fewer"
    by_fps = replace(PLAN, sampling=Sampling(fps=2))
    assert PLAN.advise(told) == told
    assert by_fps.advise(told) == "use a lower --fps, or --max-frames 12 or fewer"
    limited = replace(PLAN, sampling=Sampling(fps=2, max_frames=9))
    assert by_fps.advise("use more --frames") == "use a higher --fps"
    assert limited.advise("use more --frames") == "use more --max-frames"
    outcome = failed(JOB, ASKED, by_fps, OutOfMemoryError("memory ran out; use fewer --frames"))
    assert outcome.line["error"]["message"] == "memory ran out; use a lower --fps"
    answer = answered(JOB, ASKED, by_fps, example(Answer, warnings=("use fewer --frames",)))
    assert answer.line["warnings"] == ["use a lower --fps"]
