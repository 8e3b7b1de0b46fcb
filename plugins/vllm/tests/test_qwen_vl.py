"""Tiny random Qwen-VL models in vLLM: the logits of dycoke on stock transformers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

pytest.importorskip("vllm", reason="vLLM isn't installed; `make test-vllm` installs it")

import mini_engine as engine
import tiny_qwen
from transformers.video_utils import VideoMetadata

from dycoke_vllm.admission import admitted

SPECS = (
    "none", "evs:retain=0.5", "evs:retain=0.05", "coverage:retain=0.25", "dart:retain=0.02", "ttm",
    "vidcom2", "uniform-frames", "uniform-spatial", "v-cast:retain=0.4", "dycoke-plus",
)  # fmt: skip
FPS, TOKENS = 2.0, 6
LONG = "What happens, when does it happen, where is it, and what of it is there afterwards? "


class Served:
    """An engine, and the same weights in transformers."""

    def __init__(self, family: str, folder: Path, **options: Any) -> None:
        self.processor = tiny_qwen.save(family, folder)
        self.engine = engine.start(folder, video_pruning_rate=0.5, **options)
        core = self.engine.llm_engine.engine_core.engine_core
        # vLLM's CPU runner doesn't look whether pruning is on; that of GPUs does.
        core.model_executor.driver_worker.worker.model_runner.is_multimodal_pruning_enabled = True
        model = tf.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
        self.model = model.eval()

    def prompt(self, question: str) -> str:
        content = [{"type": "video"}, {"type": "text", "text": question}]
        chat = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        return str(chat)

    def generated(self, asked: list[tuple[np.ndarray, str, str]]) -> list[Any]:
        """Of each the output of vLLM, all in one batch."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0, max_tokens=TOKENS, logprobs=4, ignore_eos=True, detokenize=False
        )
        requests = [
            {
                "prompt": self.prompt(question),
                "multi_modal_data": {"video": [(frames, metadata(frames))]},
                "mm_processor_kwargs": {"dycoke": spec},
            }
            for frames, question, spec in asked
        ]
        return self.engine.generate(requests, sampling, use_tqdm=False)

    def check(self, output: Any, frames: np.ndarray, question: str, spec: str) -> None:
        """Tokens and logits are those of stock `generate()` with the method attached."""
        about = metadata(frames)
        about.pop("do_sample_frames")
        inputs = self.processor(
            text=[self.prompt(question)],
            videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)],
            videos_kwargs={"do_sample_frames": False, "video_metadata": [VideoMetadata(**about)]},
            return_tensors="pt",
        )
        with admitted(spec, "kept")(self.model):
            expected = self.model.generate(
                **inputs, max_new_tokens=TOKENS, do_sample=False, output_logits=True,
                return_dict_in_generate=True,
            )  # fmt: skip
        [done] = output.outputs
        assert [*done.token_ids] == expected.sequences[0, -TOKENS:].tolist(), spec
        logits = torch.cat(expected.logits).log_softmax(-1)
        for of_step, step in zip(logits, done.logprobs, strict=True):
            for token, found in step.items():
                assert found.logprob == pytest.approx(of_step[token].item(), abs=2e-3), spec


def metadata(frames: np.ndarray) -> dict[str, Any]:
    """What both sides are told of a clip: positions depend on it."""
    count, height, width, _ = frames.shape
    return {
        "fps": FPS, "total_num_frames": count, "duration": count / FPS, "height": height,
        "width": width, "frames_indices": [*range(count)], "do_sample_frames": False,
    }  # fmt: skip


def clip(count: int, height: int = 16, width: int = 16) -> np.ndarray:
    """Noise of which a part changes from frame to frame."""
    draw = np.random.default_rng(count)
    frames = draw.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    for before, frame in pairwise(frames):
        frame[:] = np.where(draw.random((height, width, 1)) < 0.6, before, frame)
    return frames


@pytest.fixture(scope="module")
def qwen25(tmp_path_factory: pytest.TempPathFactory) -> Served:
    # Prompts are longer than a chunk, so that they are prefilled in several.
    options = {"max_model_len": 2048, "max_num_batched_tokens": 128, "max_num_seqs": 4}
    return Served("qwen2_5_vl", tmp_path_factory.mktemp("model") / "qwen", **options)


@pytest.mark.parametrize("size", [(8, 16, 16), (80, 16, 16), (12, 32, 16)])
def test_logits_of_every_method_in_one_batch(qwen25: Served, size: tuple[int, int, int]) -> None:
    """Long videos have more positions in time than in width; portraits more in height."""
    frames = clip(*size)
    outputs = qwen25.generated([(frames, "What?", spec) for spec in SPECS])
    for spec, output in zip(SPECS, outputs, strict=True):
        qwen25.check(output, frames, "What?", spec)


def test_positions_behind_a_cached_video(qwen25: Served) -> None:
    """The second question finds the whole video in the cache of prefixes, with some of its text."""
    frames, cached = clip(80), []
    for question in (LONG + "Who?", LONG + "Why is it there?"):
        [output] = qwen25.generated([(frames, question, "evs:retain=0.5")])
        qwen25.check(output, frames, question, "evs:retain=0.5")
        cached.append(output.num_cached_tokens)
    video = 80 // 2 * 4 // 2
    assert cached[0] == 0
    assert cached[1] > video


def test_positions_that_are_no_time_height_and_width_are_refused(qwen25: Served) -> None:
    with pytest.raises(ValueError, match="this model's are kept"):
        qwen25.generated([(clip(8), "What?", "evs:positions=renumbered")])


@pytest.mark.parametrize(
    ("family", "options", "sentence"),
    [
        ("qwen2_5_vl", {}, "started with --video-pruning-rate"),
        ("qwen3_vl", {"video_pruning_rate": 0.5}, "Qwen3-VL takes no method in vLLM yet"),
        ("qwen3_vl", {}, "Qwen3-VL takes no method in vLLM yet"),
    ],
)
def test_a_server_that_cannot_compress_says_so(
    family: str, options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    """By the processor, which sees a request before any engine does."""
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    tiny_qwen.save(family, tmp_path / "model")
    config = ModelConfig(str(tmp_path / "model"), dtype="float32", **options)
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    items = processor.info.parse_mm_data({"video": [(clip(8), metadata(clip(8)))]})
    prompt = processor.info.get_tokenizer().encode("<|vision_start|><|video_pad|><|vision_end|>")
    assert processor(prompt, items, hf_processor_mm_kwargs={"dycoke": "none"})
    with pytest.raises(ValueError, match=sentence):
        processor(prompt, items, hf_processor_mm_kwargs={"dycoke": "evs"})
