"""Puts the questions about one video to a model, under each method in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation import Stopwatch, generate
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.prompts import without_video
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.dataset import Dataset, Item
from dycoke_cli.evaluation.prediction import MAX_NEW_TOKENS, Prediction
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompt import text_ids


@dataclass(frozen=True)
class Question:
    """One question under one method.

    Args:
        row: number of the row in the table that it belongs to.
        method: what is left out.
        frames: how many the model sees; 0 is no video at all.
        item: of the benchmark.
    """

    row: int
    method: Method
    frames: int
    item: Item


Job = list[Question]
"""What is to be asked about one video."""


def ask_all(
    loaded: LoadedModel, dataset: Dataset, job: Job
) -> Iterator[tuple[Question, Prediction]]:
    """Answer greedily; the video is read and encoded once for each number of frames.

    Args:
        loaded: the model.
        dataset: which has the video, and scores.
        job: questions about one video.
    """
    sessions: dict[int, VideoSession] = {}
    for question in job:
        frames, item = question.frames, question.item
        if frames == 0:
            yield question, _without_video(loaded, dataset, item)
            continue
        if frames not in sessions:
            sessions[frames] = VideoSession(loaded, dataset.clip(item.video, frames))
        yield question, _with_video(sessions[frames], dataset, question.method, item)


def _with_video(session: VideoSession, dataset: Dataset, method: Method, item: Item) -> Prediction:
    answer = session.ask(item.question, method, max_new_tokens=MAX_NEW_TOKENS, history=item.history)
    score = dataset.score(item, answer.answer)
    taken, tokens = answer.seconds, answer.tokens
    return Prediction(
        item=item.id,
        said=answer.answer,
        right=score.right,
        parts=dict(score.parts),
        visual=tokens.visual,
        visual_kept=tokens.visual_kept,
        visual_active=tokens.visual_active_in_decode,
        generated=tokens.generated,
        # Whichever question comes first pays for reading and encoding.
        seconds=taken.total - taken.video_decode - taken.vision,
        bytes=answer.bytes.kv_cache,
        visual_read=tokens.visual_read_per_step,
    )


def _without_video(loaded: LoadedModel, dataset: Dataset, item: Item) -> Prediction:
    watch = Stopwatch(loaded.input_device)
    [generated] = generate(
        loaded.model,
        loaded.processor.tokenizer,
        without_video(text_ids(loaded.processor, item.question, item.history)),
        GenerationOptions(MAX_NEW_TOKENS),
        watch,
        on_text=None,
        on_token=None,
    )
    score = dataset.score(item, generated.text)
    return Prediction(
        item=item.id,
        said=generated.text,
        right=score.right,
        parts=dict(score.parts),
        visual=0,
        visual_kept=0,
        visual_active=0.0,
        visual_read=0.0,
        generated=len(generated.tokens),
        seconds=watch.read(),
        bytes=generated.kv_bytes,
    )
