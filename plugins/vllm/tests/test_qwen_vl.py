"""Tiny random Qwen-VL models in vLLM: the logits of dycoke on stock transformers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

pytest.importorskip("vllm", reason="vLLM isn't installed: tests/environment.py installs it")

import mini_engine as engine
import tiny_qwen
from transformers.video_utils import VideoMetadata

from dycoke_cli.engine.attach import attach
from dycoke_vllm.admission import admitted

SPECS = (
    "none", "evs:retain=0.5", "evs:retain=0.05", "dart:retain=0.02", "ttm",
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

    def generated(self, asked: list[tuple[np.ndarray, str, str]], **sampling: Any) -> list[Any]:
        """Of each the output of vLLM, all in one batch."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            temperature=0, max_tokens=TOKENS, logprobs=4, ignore_eos=True, detokenize=False,
            **sampling,
        )  # fmt: skip
        requests = [
            {
                "prompt": self.prompt(question),
                "multi_modal_data": {"video": [(frames, metadata(frames))]},
                "mm_processor_kwargs": {"dycoke": spec},
            }
            for frames, question, spec in asked
        ]
        return self.engine.generate(requests, parameters, use_tqdm=False)

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
        with attach(self.model, admitted(spec, "kept")):
            expected = self.model.generate(
                **inputs, max_new_tokens=TOKENS, do_sample=False, output_logits=True,
                return_dict_in_generate=True,
            )  # fmt: skip
            if output.prompt_logprobs is not None:
                with torch.no_grad():
                    self.check_prompt(output, self.model(**inputs).logits[0], spec)
        [done] = output.outputs
        assert [*done.token_ids] == expected.sequences[0, -TOKENS:].tolist(), spec
        logits = torch.cat(expected.logits).log_softmax(-1)
        for of_step, step in zip(logits, done.logprobs, strict=True):
            for token, found in step.items():
                assert found.logprob == pytest.approx(of_step[token].item(), abs=2e-3), spec

    def check_prompt(self, output: Any, logits: torch.Tensor, spec: str) -> None:
        """Behind the video, each token of the prompt has the probability that it has there."""
        prompt = [*output.prompt_token_ids]
        text = prompt[::-1].index(self.model.config.vision_end_token_id)
        assert text > 1
        of_text = logits[-text - 1 : -1].log_softmax(-1)
        for place, row in zip(range(-text, 0), of_text, strict=True):
            found = output.prompt_logprobs[place][prompt[place]].logprob
            assert found == pytest.approx(row[prompt[place]].item(), abs=2e-3), spec


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


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def qwen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    # Fewer than a batch has, so that prompts are prefilled in several chunks. A whole video of
    # Qwen3-VL has to fit, time stamps and all.
    chunk = 128 if request.param == "qwen2_5_vl" else 1024
    options = {"max_model_len": 2048, "max_num_batched_tokens": chunk, "max_num_seqs": 4}
    served = Served(request.param, tmp_path_factory.mktemp("model") / "qwen", **options)
    yield served
    engine.stop(served.engine)


@pytest.mark.parametrize("size", [(8, 16, 16), (80, 16, 16), (12, 32, 16)])
def test_logits_of_every_method_in_one_batch(qwen: Served, size: tuple[int, int, int]) -> None:
    """Long videos have more positions in time than in width; portraits more in height."""
    frames = clip(*size)
    asked = [(frames, "What?", spec) for spec in SPECS]
    for spec, output in zip(SPECS, qwen.generated(asked, prompt_logprobs=0), strict=True):
        qwen.check(output, frames, "What?", spec)


def test_positions_behind_a_cached_video(qwen: Served) -> None:
    """The second question finds the whole video in the cache of prefixes, with some of its text."""
    frames, cached = clip(80)[::-1].copy(), []  # which no other test has left there
    for question in (LONG + "Who?", LONG + "Why is it there?"):
        [output] = qwen.generated([(frames, question, "evs:retain=0.5")])
        qwen.check(output, frames, question, "evs:retain=0.5")
        cached.append(output.num_cached_tokens)
    video = 80 // 2 * 4 // 2
    assert cached[0] == 0
    assert cached[1] > video


def test_positions_that_are_no_time_height_and_width_are_refused(qwen: Served) -> None:
    with pytest.raises(ValueError, match="this model's are kept"):
        qwen.generated([(clip(8), "What?", "evs:positions=renumbered")])


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_server_that_cannot_compress_says_so(family: str, tmp_path: Path) -> None:
    """By the processor, which sees a request before any engine does."""
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    tiny_qwen.save(family, tmp_path / "model")
    config = ModelConfig(str(tmp_path / "model"), dtype="float32")
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    items = processor.info.parse_mm_data({"video": [(clip(8), metadata(clip(8)))]})
    prompt = processor.info.get_tokenizer().encode("<|vision_start|><|video_pad|><|vision_end|>")
    assert processor(prompt, items, hf_processor_mm_kwargs={"dycoke": "none"})
    with pytest.raises(ValueError, match="started with --video-pruning-rate"):
        processor(prompt, items, hf_processor_mm_kwargs={"dycoke": "evs"})
