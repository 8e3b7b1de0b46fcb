"""Measures the stages of a loaded model once, with short answers about frames of noise.

A budget of seconds (`--fit 20s`) needs times that are right within a few percent. Kernels that are
timed one by one aren't: what lies between them is up to a third of a small model's time.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np

from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.compression.methods.dycoke_plus import DyCokePlus
from dycoke_cli.engine.memory.cost_model import CostModel
from dycoke_cli.engine.memory.expected_time import StageTimes, write_stage_times
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_processor import ShownFrames

MOST_FRAMES = 128
LIMIT_S = 2.0
"""Predicted seconds of one answer, above which it is asked about fewer frames."""
RUNS = 3
_QUESTION = "What happens in the video?"
_NEW_TOKENS = 9
_SELECTING = DyCokePlus(retain=0.5)
"""Method whose selection is timed: with half of the tokens kept, it takes longest."""


def calibrate(loaded: LoadedModel, answer: CostModel, height: int, width: int) -> StageTimes | None:
    """Measure the stages of uncompressed answers, and a selection; store their medians.

    The first answer isn't counted: libraries prepare kernels at their first use.

    Returns:
        None if the model refuses the question, because it only knows another domain.
    """
    frames, predicted_s = MOST_FRAMES, 0.0
    while True:
        session = _session(loaded, frames, height, width)
        costs = answer.costs(BASELINE, session.video.tokens)
        assert costs is not None, "the baseline works with any number of frames"
        stages = costs.stages
        predicted_s = 0.0 if stages is None else (stages.vision or 0.0) + stages.prefill
        if (costs.in_context and predicted_s <= LIMIT_S) or frames == 1:
            break
        frames //= 2
    # A model that is slow with a single frame has little overhead, and is measured once.
    count = 1 + (RUNS if predicted_s <= LIMIT_S else 1)

    def asked(method: Method | BoundMethod) -> list[Answer]:
        """Answers, without the first one."""
        sessions = (_session(loaded, frames, height, width) for _ in range(count))
        answers = [one.ask(_QUESTION, method, max_new_tokens=_NEW_TOKENS) for one in sessions]
        return answers[1:]

    runs = asked(BASELINE)
    first = runs[0]
    if first.tokens is None or first.decode is None:  # refused
        return None
    clip, timed = session.video.tokens, [run.seconds for run in runs if run.seconds]
    work = answer.work(BASELINE, clip, clip.visual)
    times = StageTimes(
        frames=clip.frames,
        patches=answer.sizes.vision.patches_of_frame(clip.per_frame),
        patches_together=work.patches,
        tokens=clip.visual + first.tokens.text,
        chunk_len=work.chunk_len,
        steps=first.decode.steps,
        vision_s=median(each.vision or 0.0 for each in timed),
        prefill_s=median(each.prefill or 0.0 for each in timed),
        decode_s=median(each.decode or 0.0 for each in timed),
        selection_s=0.0,
        visual=clip.visual,
    )
    if (rates := answer.facts.rates) is not None:
        selected = [run for run in asked(_SELECTING) if run.seconds and run.tokens]
        read = selected[0].tokens.visual_kept + selected[0].tokens.text
        prefill_s = median(run.seconds.prefill for run in selected)
        alone_s = rates.prefill(read, min(read, work.chunk_len)) * times.corrections(rates)[1]
        times = replace(times, selection_s=max(0.0, prefill_s - alone_s))
    write_stage_times(answer.stage_times_file, times)
    return times


def _session(loaded: LoadedModel, frames: int, height: int, width: int) -> VideoSession:
    # Noise, since equal frames would be encoded once (`frame_dedup.py`).
    resize = loaded.fit(frames, height, width)
    size = (height, width) if resize is None else resize.size
    pixels = np.random.default_rng(0).integers(0, 256, (frames, *size, 3), np.uint8)
    shown = ShownFrames(pixels, tuple(map(float, range(frames))), resize=resize)
    return VideoSession(loaded, shown, reuse=False)
