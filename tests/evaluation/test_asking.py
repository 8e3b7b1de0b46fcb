"""Answers of an evaluation are those of plain generate() on the stock processor's prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli import Answer, DyCoke, Uncompressed
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation import eval_run
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.prediction import Prediction, scored
from dycoke_cli.loop import answer_batch
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.request import Request
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.evaluation.samples import Samples
from tests.families.sessions import bundled, said_by_stock
from tests.marks import EXTENDED

ITEM = Samples().items("test", 1)[0]
HISTORY = (("Is there a green star?", "No."), ("How many objects are there?", "There is one."))
DYCOKE = DyCoke(prune_layer=2)
SHORT = replace(BUNDLED, generation=GenerationOptions(max_tokens=2))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return bundled()


def ask(
    loaded: LoadedModel,
    *rows: tuple[Method, int, Item],
    batch_size: int = 1,
    request: Request = BUNDLED,
) -> list[Prediction]:
    """The predictions of rows (method, frames, item), as an evaluation makes them."""
    asked = {
        f"{number}": (SimpleNamespace(method=method, spec=Spec(frames)), item)
        for number, (method, frames, item) in enumerate(rows)
    }
    plan = eval_run._EvaluationPlan(request, request.method, {})
    groups = [
        [plan.with_defaults(ask) for ask in eval_run._with_file(Samples(), group)]
        for group in eval_run._groups(asked, request)  # type: ignore[arg-type]
    ]
    with Engine(plan.request, loaded=loaded, batch_size=batch_size) as engine:
        outcomes = [Outcome.of(ask, event) for ask, event in engine.answers(groups)]
    outcomes.sort(key=lambda outcome: int(outcome.key))
    return [scored(Samples(), asked[outcome.key][1], outcome) for outcome in outcomes]


@dataclass(frozen=True)
class Spec:
    """A row that has its own number of frames."""

    frames: int

    def sampled(self, _: Sampling) -> Sampling | None:
        return Sampling(frames=self.frames) if self.frames else None


def clip(video: str, frames: int) -> Clip:
    return read(Samples().file(video), Sampling(frames=frames))


@pytest.mark.parametrize("frames", [3, 0, pytest.param(1, marks=EXTENDED)])
@pytest.mark.parametrize("history", [(), HISTORY])
def test_answers_are_those_of_plain_generate(
    loaded: LoadedModel, frames: int, history: tuple[tuple[str, str], ...]
) -> None:
    asked = next(item for item in Samples().items("test", 1) if item.kind == "description")
    item = replace(asked, history=history)
    (prediction,) = ask(loaded, (Uncompressed(), frames, item))
    texts = [*(text for turn in history for text in turn), item.question]
    shown = clip(item.video, frames).frames if frames else ()
    assert prediction.said == said_by_stock(loaded, texts, shown, 128)
    assert prediction.visual == prediction.visual_kept == 16 * frames


def test_an_answer_is_scored_and_its_tokens_are_counted(loaded: LoadedModel) -> None:
    (prediction,) = ask(loaded, (DYCOKE, 8, replace(ITEM, answer="never this")))
    assert (prediction.item, prediction.right) == (ITEM.id, False)
    assert (prediction.visual, prediction.visual_kept) == (128, 2 * (16 + 3 * 4))
    assert prediction.visual_active == int(56 * 0.3)
    (again,) = ask(loaded, (DYCOKE, 8, replace(ITEM, answer=prediction.said)))
    assert again.right


def test_a_video_is_read_and_encoded_once_for_each_number_of_frames(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[str] = []
    file = Samples.file
    monkeypatch.setattr(Samples, "file", lambda self, v: files.append(v) or file(self, v))
    encoded = []
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: encoded.append(1))
    rows = [
        (method, frames, item)
        for method, frames in [(Uncompressed(), 4), (DYCOKE, 4), (Uncompressed(), 1)]
        for item in Samples().items("test", 1)[:3]
    ]
    predictions = ask(loaded, *rows, request=SHORT)
    hook.remove()
    assert [prediction.item for prediction in predictions] == [item.id for _, _, item in rows]
    assert [prediction.visual for prediction in predictions] == [64] * 6 + [16] * 3
    assert files == [ITEM.video] * 2
    assert len(encoded) == 2


@pytest.mark.parametrize("together", [1, 4])
def test_seconds_leave_out_what_all_questions_share(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    real = answer_batch.ask_together

    def with_a_slow_start(*arguments: Any, **named: Any) -> list[Answer]:
        """As if the first of them had paid for the video, and answering took a minute."""
        first, *others = real(*arguments, **named)
        first = replace(first, seconds=replace(first.seconds, prefill=20.0, decode=40.0))
        shared = replace(first.seconds, video_decode=100.0, vision=200.0, total=360.0)
        free = replace(first.seconds, video_decode=0.0, vision=0.0, total=260.0)
        return [replace(first, seconds=shared), *(replace(one, seconds=free) for one in others)]

    monkeypatch.setattr(answer_batch, "ask_together", with_a_slow_start)
    rows = [(Uncompressed(), 2, item) for item in Samples().items("test", 1)[:together]]
    predictions = ask(loaded, *rows, batch_size=together, request=SHORT)
    assert [one.seconds for one in predictions] == [pytest.approx(60 / together)] * together
    assert [one.seconds_prefill for one in predictions] == [20 / together] * together
    assert [one.seconds_decode for one in predictions] == [40 / together] * together
