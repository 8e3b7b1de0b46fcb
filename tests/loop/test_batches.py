"""The bundled model answers a batch as it answers each question alone, whatever goes wrong."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods.visionzip import VisionZip
from dycoke_cli.engine import encoded_video, vision
from dycoke_cli.engine.generation_options import GenerationOptions, TokenOptions
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.errors import VideoError
from dycoke_cli.loop import answer_batch
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models import load as loading
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.run import asker_here, outcomes_of
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.runs.parts import CLIPS, Group, groups_in, plan_with
from tests.runs.pretended import valid

# In float32 a batch gives each question the answer that it gets alone, to the letter.
EXACT = LoadOptions(device="cpu", dtype="float32")
QUESTIONS = ("What happens?", "How many objects are there?", "What colour is the background?")


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load("mini", **asdict(EXACT))


@pytest.fixture(scope="module")
def plan() -> RunPlan:
    plan = plan_with(
        loading=EXACT, sampling=Sampling(frames=4), generation=GenerationOptions(max_tokens=12)
    )
    return replace(plan, identity=resolve_model("mini", EXACT).identity, batch_size=4)


@pytest.fixture(scope="module")
def alone(loaded: LoadedModel, plan: RunPlan) -> Callable[[str, str], str]:
    """The answer to a question about a clip that nothing else is asked with."""

    def ask(name: str, question: str) -> str:
        request = plan.request
        session = VideoSession(loaded, read(CLIPS / name, request.sampling))
        return session.ask(question, request.method, max_tokens=12).answer

    return ask


def answer_all(loaded: LoadedModel, plan: RunPlan, groups: Sequence[Group]) -> list[Outcome]:
    groups = [[plan.with_defaults(ask) for ask in group] for group in groups]
    with Engine(plan.request, loaded=loaded, batch_size=plan.batch_size) as engine:
        outcomes = [Outcome.of(ask, event) for ask, event in engine.answers(groups)]
    for outcome in outcomes:
        valid(outcome.line)
    wanted = Counter(ask.key for group in groups for ask in group)
    assert Counter(outcome.key for outcome in outcomes) == wanted
    return outcomes


def said(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], str]:
    return {
        (Path(o.line["video"]).name, o.line["question"]): o.line.get("answer", "") for o in outcomes
    }


@pytest.mark.slow
def test_answers_are_those_that_each_question_gets_alone(
    loaded: LoadedModel, plan: RunPlan, alone: Callable[[str, str], str]
) -> None:
    groups = groups_in(CLIPS, *QUESTIONS[:2], plan=plan)[::2]
    answers = said(answer_all(loaded, plan, groups))
    assert len(answers) == 2 * len(groups)
    assert len(set(answers.values())) > 5
    for (name, question), answer in answers.items():
        assert answer == alone(name, question), name


def test_methods_of_a_job_are_known_before_its_video_is_encoded(
    loaded: LoadedModel, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[Any] = []
    encode = vision.encode_video
    monkeypatch.setattr(
        vision, "encode_video", lambda *a, **k: encoded.append(a[2]) or encode(*a, **k)
    )
    ((ask,),) = groups_in(CLIPS, QUESTIONS[0], plan=plan)[:1]
    # VisionZip needs the attention of the vision tower; what comes first doesn't.
    asked = [
        replace(ask, request=replace(ask.request, method=one)) for one in (Method(), VisionZip())
    ]
    answers = answer_all(loaded, plan, [asked])
    assert not any(outcome.failed for outcome in answers)
    assert len(encoded) == 1


@pytest.mark.parametrize(("free", "together"), [(10**15, 8), (0, 1), (None, 1)])
def test_how_many_go_together_by_the_memory_that_is_free(
    loaded: LoadedModel,
    plan: RunPlan,
    monkeypatch: pytest.MonkeyPatch,
    free: int | None,
    together: int,
) -> None:
    monkeypatch.setattr(encoded_video, "free_memory", lambda device: free)
    assert _largest(loaded, replace(plan, batch_size=None), monkeypatch) == together


def test_a_penalty_of_the_question_or_of_the_checkpoint_is_asked_alone(
    loaded: LoadedModel, plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would see the padding of a batch."""
    penalty = GenerationOptions(max_tokens=3, tokens=TokenOptions(repetition_penalty=1.1))
    assert _largest(loaded, plan_with(plan, generation=penalty), monkeypatch) == 1
    monkeypatch.setattr(loaded.model.generation_config, "repetition_penalty", 1.05)
    assert _largest(loaded, plan, monkeypatch) == 1
    none = GenerationOptions(max_tokens=3, tokens=TokenOptions(repetition_penalty=1.0))
    assert _largest(loaded, plan_with(plan, generation=none), monkeypatch) == 4


def _largest(loaded: LoadedModel, plan: RunPlan, monkeypatch: pytest.MonkeyPatch) -> int:
    """The largest batch of twelve questions about videos of one shape."""
    sizes: list[int] = []

    def counted(asked: Sequence[Any], *rest: Any) -> Any:
        sizes.append(len(asked))
        raise VideoError("not today")

    [ask], *_ = groups_in(CLIPS, plan=plan)
    groups = [
        [replace(ask, id=str(n), videos=(replace(ask.videos[0], identity=n),))] for n in range(12)
    ]
    with monkeypatch.context() as patch:
        patch.setattr(answer_batch, "ask_together", counted)
        answer_all(loaded, plan, groups)
    return max(sizes)


def test_plan_can_be_sent_to_another_process(plan: RunPlan) -> None:
    [ask], *_ = groups_in(CLIPS, plan=plan)
    assert plan.workers == 1  # this process, unless it is told otherwise
    other = pickle.loads(pickle.dumps(plan))
    assert other == plan
    assert other.with_defaults(pickle.loads(pickle.dumps(ask))) == plan.with_defaults(ask)


def test_without_questions_nothing_is_loaded(
    plan: RunPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(loading, "load")
    assert list(outcomes_of([], plan, asker_here, Listener())) == []
