"""The bundled model in vLLM, and what is asked of it."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.serving.server import ON_CPU

SAMPLES = Path(__file__).parents[3] / "sample_videos"


@dataclass(frozen=True)
class Asked:
    """A question about a sample clip, and the method by which it is answered."""

    video: str
    question: str
    method: str


def start(folder: Path, **options: Any) -> Any:
    """An engine, in this process."""
    os.environ.update(ON_CPU)
    from vllm import LLM

    settings = {
        "dtype": "float32",
        "enforce_eager": True,
        "max_model_len": 1024,
        "max_num_seqs": 8,
        "limit_mm_per_prompt": {"image": 0, "video": 2},
    }
    return LLM(str(folder), **{**settings, **options})


def stop(engine: Any) -> None:
    """Free what an engine has, so that the next one has room beside dycoke's own model."""
    engine.llm_engine.engine_core.shutdown()
    gc.collect()


def sample_questions() -> Iterator[tuple[str, str]]:
    """Of each sample clip its questions."""
    for clip in json.loads((SAMPLES / "samples.json").read_text()):
        for question in clip["questions"]:
            yield str(SAMPLES / clip["file"]), question["text"]


def token_ids(processor: Any, question: str) -> list[int]:
    """A prompt with one placeholder for the video, which the engine expands."""
    content = [{"type": "video"}, {"type": "text", "text": question}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    return processor.tokenizer(chat)["input_ids"]


def answers(
    engine: Any, processor: Any, frames: dict[str, Any], asked: Sequence[Asked], **sampling: Any
) -> list[tuple[str, int]]:
    """Of each question, all of them in one batch, the answer and the tokens of its prompt."""
    from vllm import SamplingParams

    outputs = engine.generate(
        [
            {
                "prompt_token_ids": token_ids(processor, one.question),
                "multi_modal_data": {"video": frames[one.video]},
                "mm_processor_kwargs": {"dycoke": one.method},
            }
            for one in asked
        ],
        SamplingParams(temperature=0, **{"max_tokens": 48, **sampling}),
        use_tqdm=False,
    )
    return [
        (
            processor.tokenizer.decode(output.outputs[0].token_ids, skip_special_tokens=True),
            len(output.prompt_token_ids),
        )
        for output in outputs
    ]
