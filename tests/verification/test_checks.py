"""What verification says of models that are right, and of an engine that was broken on purpose."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.engine import vision
from dycoke_cli.engine.kv_cache import KVLayer
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Family, Layout, family_of
from dycoke_cli.verification import run_checks as checking
from dycoke_cli.verification.reference import Run
from dycoke_cli.verification.run_checks import TOLERANCE, checks, compare, compare_batch, verify
from dycoke_cli.verification.verification_report import CheckResult
from tests.exactness import EPS, HANDED_OUT
from tests.families.found import FOUND, found, newest
from tests.families.found import MERGING_ONLY as NO_MASK
from tests.families.found import session as session_of_found
from tests.families.sessions import as_loaded
from tests.families.stock import MERGING_ONLY, NONE_ONLY, clip, one_of_each_kind
from tests.families.tiny import MAKERS, make


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody verifies in float64, but there a right model doesn't fail by a close call."""
    monkeypatch.setitem(TOLERANCE, torch.float64, 2 * HANDED_OUT + EPS)


def session_of(family: str, frames: int = 6, dtype: torch.dtype = torch.float64) -> VideoSession:
    return VideoSession(as_loaded(family, *make(family, dtype)), clip(frames))


@pytest.mark.slow
@pytest.mark.parametrize(
    "family",
    # One that prunes at all positions, and one that can only merge.
    one_of_each_kind((f for f in MAKERS if f not in NONE_ONLY), ("qwen3_vl", "gemma4")),
)
def test_stock_models_of_each_family_pass(family, monkeypatch) -> None:
    # As many as let the choice change; whole answers are checked on the families below.
    monkeypatch.setattr(checking, "NEW_TOKENS", 5)
    steps: list[CheckResult] = []
    report = verify(session_of(family), steps.append)
    assert (report.steps, report.verdict) == ((*steps,), "verified")
    check_steps(steps, family_of(make(family)[0].config), family in MERGING_ONLY)


@newest
@pytest.mark.extended
@pytest.mark.parametrize("family", FOUND)
def test_so_do_those_whose_layout_is_found(family, monkeypatch) -> None:
    monkeypatch.setattr(checking, "NEW_TOKENS", 4)
    steps = list(checks(session_of_found(family, 6)))
    check_steps(steps, found(family)[2], family in NO_MASK)


def check_steps(steps: list[CheckResult], layout: Family, merges_only: bool) -> None:
    """Each check passed, the shortened ones at all positions that there are, the default first."""
    shortened = 2 if layout.counts_tokens else 1
    assert [step.verdict for step in steps] == ["ok"] * (3 + shortened)
    does = "merged" if merges_only else "pruned"
    assert steps[2].name.startswith(f"{does}, positions {layout.positions}: ")
    for step in steps[:2]:
        for figures in step.figures["questions"]:
            assert figures["tokens"] == figures["tokens_alike"] > 0
    assert steps[-1].figures["alike"] == steps[-1].figures["questions"]


@newest
@pytest.mark.extended
def test_one_that_only_answers_without_a_method_is_refused() -> None:
    says = r"nothing to verify of dots3_note: it answers with --method none alone, for its layout "
    with pytest.raises(UsageError, match=says):
        verify(session_of_found("dots3_note", 2))


@newest
@pytest.mark.parametrize(
    "family",
    one_of_each_kind(("hyperclovax_vision_v2", "muse_glimmer"), ("hyperclovax_vision_v2",)),
)
def test_a_layout_that_is_wrong_is_found(family, monkeypatch) -> None:
    """One row too far: what was dropped isn't what is masked."""
    layouts = Family.layouts

    def shifted(self: Family, *arguments: Any, **more: Any) -> list[Layout]:
        return [replace(one, index=one.index + 1) for one in layouts(self, *arguments, **more)]

    session = session_of_found(family, 6)
    monkeypatch.setattr(checking, "NEW_TOKENS", 4)
    monkeypatch.setattr(Family, "layouts", shifted)
    verdicts = [step.verdict for step in islice(checks(session), 3)]
    assert verdicts == ["ok", "ok", "failed"]


@pytest.mark.extended
def test_a_stock_model_in_float32_is_within_its_tolerance() -> None:
    for step in islice(checks(session_of("llava_onevision", dtype=torch.float32)), 3):
        for figures in step.figures["questions"]:
            # Up to the first word that isn't the same, if a close call is tipped.
            assert figures["logits_apart"] <= TOLERANCE[torch.float32]


def test_pixels_that_are_not_stock_are_found(monkeypatch) -> None:
    """Also by the questions whose reference gets what the stock tower made for the first one."""
    normalised = vision.normalised
    monkeypatch.setattr(vision, "normalised", lambda *given: 1.5 * normalised(*given))
    step = next(checks(session_of("llava_next_video", frames=2)))
    assert step.verdict == "failed"
    assert all(one["logits_apart"] > 1e-3 for one in step.figures["questions"])


def test_values_that_lag_behind_are_found(monkeypatch) -> None:
    append = KVLayer._append

    def shifted(self, key_states, value_states):
        append(self, key_states, value_states.roll(1, dims=2))

    monkeypatch.setattr(KVLayer, "_append", shifted)
    monkeypatch.setattr(checking, "NEW_TOKENS", 4)
    report = verify(session_of("qwen3_vl"))
    assert [step.verdict for step in report.steps[:2]] == ["ok", "failed"]
    assert report.verdict == "not verified"


@pytest.mark.parametrize(("dtype", "verdict"), [(torch.float32, "failed"), (torch.bfloat16, "ok")])
def test_a_batch_answers_as_each_alone(dtype: torch.dtype, verdict: str, monkeypatch) -> None:
    loaded = SimpleNamespace(model=SimpleNamespace(dtype=dtype))
    session: Any = SimpleNamespace(
        loaded=loaded, ask=lambda question, *_, **__: SimpleNamespace(answer=question)
    )
    together = [SimpleNamespace(answer=question) for question in checking.QUESTIONS]
    monkeypatch.setattr(checking, "ask_together", lambda *_: together)
    assert compare_batch(session, DyCoke()).verdict == "ok"
    together[1].answer = "another"
    step = compare_batch(session, DyCoke())
    assert (step.verdict, step.figures) == (verdict, {"alike": 2, "questions": 3})
    assert step.detail.startswith("2 of 3 identical")
    assert ("rounding" in step.detail) == (verdict == "ok")


def run_of(tokens: list[int], logits: list[list[float]]) -> Run:
    return Run(torch.tensor(tokens), torch.tensor(logits))


def test_a_close_call_is_told_from_a_wrong_answer() -> None:
    theirs = run_of([1, 0], [[0.0, 10.0], [5.0, 4.9]])
    assert compare(theirs, theirs, torch.float32)[0] == "ok"
    tipped = run_of([1, 1], [[0.0, 10.0], [4.9, 5.0]])
    wrong = run_of([1, 1], [[0.0, 10.0], [0.0, 5.0]])
    assert compare(tipped, theirs, torch.bfloat16)[0] == "ok"
    assert compare(wrong, theirs, torch.bfloat16)[0] == "failed"
    verdict, figures = compare(tipped, theirs, torch.float32)
    assert verdict == "failed"
    assert (figures["tokens"], figures["tokens_alike"]) == (2, 1)
    assert figures["logits_apart"] == pytest.approx(0.01)


def test_what_comes_behind_a_parting_isn_t_compared() -> None:
    theirs = run_of([1, 0, 1], [[0.0, 10.0], [5.0, 4.9], [0.0, 9.0]])
    tipped = run_of([1, 1, 0], [[0.0, 10.0], [4.9, 5.0], [9.0, 0.0]])
    assert compare(tipped, theirs, torch.bfloat16)[0] == "ok"
