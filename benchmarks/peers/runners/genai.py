"""Answers by OpenVINO GenAI, in its environment."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import openvino_genai

from benchmarks.peers.runners.line import (
    WARM_UP_FRAMES,
    WARM_UP_TOKENS,
    Answer,
    Task,
    given,
    say,
)
from benchmarks.resident import forget_peak, peak

END = 151645
"""A token that ends answers has to be named, even where it is ignored: Qwen's `<|im_end|>`."""
CELL = 32
"""Pixels across and down, of two frames, make a visual token."""
CORNER = 4 * CELL
LONGEST = 1 << 20
"""Tokens of a prompt that is read in one go."""


def answer(task: Task) -> Answer:
    """Settings: `pruned`, the percentage of visual tokens that CDPruner drops."""
    scheduling = openvino_genai.SchedulerConfig()
    # Otherwise the prompt of the warm-up would be read from its cache.
    scheduling.enable_prefix_caching = False
    scheduling.max_num_batched_tokens = LONGEST
    whole = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    pipeline = openvino_genai.VLMPipeline(
        task.model,
        "CPU",
        INFERENCE_NUM_THREADS=task.threads,
        scheduler_config=scheduling,
        **(whole if task.weights == "float32" else {}),
    )
    frames = np.load(task.clip)
    # It tells how many tokens a prompt has, not which: the rest of the prompt has as many whatever
    # the size of frames.
    corner = np.ascontiguousarray(frames[:, :CORNER, :CORNER])
    text = _generate(pipeline, task, corner, 1, {}).get_num_input_tokens() - _tokens(corner)
    _generate(pipeline, task, frames[:WARM_UP_FRAMES], WARM_UP_TOKENS, task.settings)
    forget_peak()
    found = _generate(pipeline, task, frames, task.tokens, task.settings)
    most = peak()
    visual = found.get_num_input_tokens() - text
    if not task.settings and visual != _tokens(frames):
        raise SystemExit(f"it read {visual} visual tokens where the clip has {_tokens(frames)}")
    vision = found.get_prepare_embeddings_duration().mean / 1e3
    return Answer(
        vision=vision,
        prefill=found.get_ttft().mean / 1e3 - vision,
        token=found.get_tpot().mean / 1e3,
        total=found.get_generate_duration().mean / 1e3,
        peak=most,
        visual=visual,
        text=text,
        written=found.get_num_generated_tokens(),
        version=f"OpenVINO GenAI {openvino_genai.__version__.partition('-')[0]}",
    )


def _generate(
    pipeline: Any, task: Task, frames: np.ndarray, tokens: int, settings: dict[str, Any]
) -> Any:
    """The metrics of one answer."""
    config = openvino_genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True)
    config.do_sample = False
    config.set_eos_token_id(END)
    config.stop_token_ids = {END}
    config.pruning_ratio = settings.get("pruned", 0)
    clip = openvino_genai.VideoMetadata()
    clip.fps = 1 / (task.times[1] - task.times[0])
    clip.frames_indices = [*range(len(frames))]  # or else it takes fewer of them
    answered = pipeline.generate(
        task.question,
        videos=[openvino.Tensor(frames)],
        videos_metadata=[clip],
        generation_config=config,
    )
    return answered.perf_metrics


def _tokens(frames: np.ndarray) -> int:
    """That all of these frames make."""
    count, height, width, _ = frames.shape
    return -(-count // 2) * (height // CELL) * (width // CELL)


if __name__ == "__main__":
    say(answer(given()))
