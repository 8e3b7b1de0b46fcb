"""Answers of an evaluation are those of plain generate() on the stock processor's prompt."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from dycoke_cli import Answer, DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.evaluation.asking import Question, ask_all
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.video import Clip

from .samples import Samples

ITEM = Samples().items("test", 1)[0]
HISTORY = (("Is there a green star?", "No."), ("How many objects are there?", "There is one."))
DYCOKE = DyCoke(prune_layer=2)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load("mini", device="cpu", dtype="float32")


@dataclass(frozen=True)
class Counted(Samples):
    """Notes which clips are read."""

    read: collections.Counter[tuple[str, int]] = field(default_factory=collections.Counter)

    def clip(self, video: str, frames: int) -> Clip:
        self.read[video, frames] += 1
        return super().clip(video, frames)


def plain(loaded: LoadedModel, item: Item, frames: int) -> str:
    """Of stock generate(), on a conversation that is written down by hand."""
    texts = [text for turn in item.history for text in turn] + [item.question]
    turns: list[dict[str, Any]] = [
        {"role": "assistant" if n % 2 else "user", "content": [{"type": "text", "text": text}]}
        for n, text in enumerate(texts)
    ]
    videos = {}
    if frames:
        turns[0]["content"].insert(0, {"type": "video"})
        videos = {"videos": [list(Samples().clip(item.video, frames).frames)]}
    text = loaded.processor.apply_chat_template(turns, add_generation_prompt=True)
    inputs = loaded.processor(text=[text], return_tensors="pt", **videos)
    with torch.inference_mode():
        output = loaded.model.generate(**inputs, max_new_tokens=128, do_sample=False)
    written = output[0, inputs["input_ids"].shape[1] :]
    said: str = loaded.processor.tokenizer.decode(written, skip_special_tokens=True)
    return said.strip()


@pytest.mark.parametrize("frames", [0, 1, 6])
@pytest.mark.parametrize("history", [(), HISTORY])
def test_answers_are_those_of_plain_generate(
    loaded: LoadedModel, frames: int, history: tuple[tuple[str, str], ...]
) -> None:
    asked = next(item for item in Samples().items("test", 1) if item.kind == "description")
    item = replace(asked, history=history)
    job = [Question(0, Uncompressed(), frames, item)]
    ((_, prediction),) = ask_all(loaded, Samples(), job)
    assert prediction.said == plain(loaded, item, frames)
    assert prediction.visual == prediction.visual_kept == 16 * frames


def test_an_answer_is_scored_and_its_tokens_are_counted(loaded: LoadedModel) -> None:
    job = [Question(3, DYCOKE, 8, replace(ITEM, answer="never this"))]
    ((question, prediction),) = ask_all(loaded, Samples(), job)
    assert question is job[0]
    assert (prediction.item, prediction.right) == (ITEM.id, False)
    assert (prediction.visual, prediction.visual_kept) == (128, 2 * (16 + 3 * 4))
    assert prediction.visual_active == int(56 * 0.3)
    right = replace(ITEM, answer=prediction.said)
    ((_, again),) = ask_all(loaded, Samples(), [Question(3, DYCOKE, 8, right)])
    assert again.right


def test_a_video_is_read_and_encoded_once_for_each_number_of_frames(loaded: LoadedModel) -> None:
    dataset = Counted()
    encoded = []
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: encoded.append(1))
    job = [
        Question(0, method, frames, item)
        for method, frames in [(Uncompressed(), 4), (DYCOKE, 4), (Uncompressed(), 1)]
        for item in Samples().items("test", 1)[:3]
    ]
    answers = list(ask_all(loaded, dataset, job))
    hook.remove()
    assert len(answers) == len(job)
    assert dataset.read == {(ITEM.video, 4): 1, (ITEM.video, 1): 1}
    assert len(encoded) == 2


def test_one_frame_is_the_middle_one() -> None:
    (time,) = Samples().clip(ITEM.video, 1).timestamps_s
    all_times = Samples().clip(ITEM.video, 9).timestamps_s
    assert time == pytest.approx(all_times[4], abs=0.1)


def test_seconds_leave_out_what_all_questions_share(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = VideoSession.ask

    def with_a_slow_start(*arguments: Any, **named: Any) -> Answer:
        answer = ask(*arguments, **named)
        taken = answer.seconds
        slow = replace(taken, video_decode=100.0, vision=200.0, total=taken.total + 300.0)
        return replace(answer, seconds=slow)

    monkeypatch.setattr(VideoSession, "ask", with_a_slow_start)
    ((_, prediction),) = ask_all(loaded, Samples(), [Question(0, Uncompressed(), 2, ITEM)])
    assert 0 < prediction.seconds < 100
