"""Models that listen: audio reads as the stock processor has it, and stays whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from dycoke_cli import Uncompressed, VideoSession
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_prompt import StockPrompt
from dycoke_cli.video.clip import Audio
from tests.covering import covered
from tests.families.stock import QUESTION, Masked, Shorter, at_decoder, clip
from tests.families.test_matrix import METHODS, NEW_TOKENS, method_of
from tests.families.test_unlisted import found, in_dtype_of, newest, words
from tests.families.test_unlisted import stock_inputs as stock_behind
from tests.families.tiny import UNLISTED_MAKERS, make

pytestmark = [newest, pytest.mark.extended]

RATE = 16_000
FRAMES = 6
WOVEN = ("qwen2_5_omni", "qwen3_omni_moe")
SOUNDS = ("input_values", "input_features")
BEHIND = ("muse_spark", "dots3_note", "nemotron_h_omni")


def audio(seconds: float = 2.5, rate: int = RATE) -> Audio:
    noise = np.random.default_rng(1).uniform(-1, 1, round(seconds * rate))
    return Audio(noise.astype(np.float32), rate)


def session(family: str, heard: Audio | None, dtype: torch.dtype = torch.float64) -> VideoSession:
    model, processor, layout = found(family, dtype)
    loaded = LoadedModel(family, None, None, model, processor, layout, 0.0)
    return VideoSession(loaded, replace(clip(FRAMES), audio=heard))


def stock_inputs(family: str, heard: Audio) -> dict[str, Any]:
    """What a user of stock transformers gives to `generate()`."""
    model, processor, _ = found(family)
    shown = clip(FRAMES)
    frames = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) for frame in shown.frames])
    content = [{"type": "video"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    made = processor(
        text=[text],
        videos=[[frames]],
        audio=[heard.samples],
        load_audio_from_video=True,
        audio_from_video_indices=[0],
        audio_kwargs={"sampling_rate": RATE},
        videos_kwargs={"do_sample_frames": False, "fps": 4.0},
        return_tensors="pt",
    )
    return in_dtype_of(model, made) | {"use_audio_in_video": True}


@pytest.mark.parametrize("family", WOVEN)
def test_it_is_what_stock_transformers_makes_of_it(family: str) -> None:
    model, processor, _ = found(family)
    heard = audio()
    ours = session(family, heard)
    inputs = stock_inputs(family, heard)
    prompt = ours.video
    assert isinstance(prompt, StockPrompt)
    given = prompt.stock_inputs(QUESTION)
    assert torch.equal(given["input_ids"], inputs["input_ids"])
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    answer = ours.ask(QUESTION, Uncompressed(), max_new_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, tokens[0, inputs["input_ids"].shape[1] :])
    audio_tokens = int((inputs["input_ids"] == model.config.audio_token_id).sum())
    silent = session(family, None).ask(QUESTION, Uncompressed(), max_new_tokens=NEW_TOKENS)
    assert audio_tokens > 0
    # Two tokens say where it begins and ends.
    assert answer.tokens.text == silent.tokens.text + audio_tokens + 2
    assert answer.tokens.visual == silent.tokens.visual
    assert (answer.audio.seconds, answer.audio.sample_rate) == (2.5, RATE)  # type: ignore[union-attr]


def test_those_that_hear_are_all_that_have_an_audio_encoder() -> None:
    configs = {name: make(name, torch.float32)[0].config for name in UNLISTED_MAKERS}
    hearing = {name for name, config in configs.items() if hasattr(config, "audio_config")}
    assert hearing == {*WOVEN, *BEHIND}


@pytest.mark.parametrize("family", BEHIND)
def test_audio_behind_the_video_is_what_stock_transformers_makes_of_it(family: str) -> None:
    model, processor, _ = found(family, torch.float32)
    heard = audio(rate=processor.feature_extractor.sampling_rate)
    ours = session(family, heard, torch.float32)
    inputs = stock_behind(family, model, processor, clip(FRAMES), heard)
    assert isinstance(ours.video, StockPrompt)
    given = in_dtype_of(model, ours.video.stock_inputs(QUESTION))
    given.setdefault("attention_mask", inputs["attention_mask"])
    assert given.keys() == inputs.keys()
    assert all(torch.equal(given[name], inputs[name]) for name in inputs)
    tokens = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
    answer = ours.ask(QUESTION, Uncompressed(), max_new_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, tokens[0, inputs["input_ids"].shape[1] :])
    silent = session(family, None, torch.float32).ask(QUESTION, Uncompressed(), max_new_tokens=1)
    audio_tokens = int((inputs["input_ids"] == model.config.audio_token_id).sum())
    assert 0 < audio_tokens <= answer.tokens.text - silent.tokens.text
    # Its placeholders are filled: what is heard reaches the language model.
    deaf = {n: torch.zeros_like(v) if n in SOUNDS else v for n, v in inputs.items()}
    reached = [at_decoder(model, one)["inputs_embeds"] for one in (inputs, deaf)]
    changed = (reached[0] != reached[1]).any(-1)
    assert torch.equal(changed, inputs["input_ids"] == model.config.audio_token_id)


def test_merging_drops_none_of_the_audio_behind_the_video() -> None:
    model, processor, layout = found("muse_spark")
    heard = audio(rate=processor.feature_extractor.sampling_rate)
    ours = session("muse_spark", heard)
    inputs = stock_behind("muse_spark", model, processor, clip(FRAMES), heard)
    visual = (inputs["input_ids"][0] == layout.discovered.token_id).nonzero().flatten().tolist()
    shorter = Shorter(model, inputs, ours.video.frames, visual)
    kept = shorter.merged(METHODS["ttm"][0])
    tokens, _ = shorter.generate_shorter(NEW_TOKENS, kept, renumbered=False)
    answer = ours.ask(QUESTION, method_of("ttm", "kept"), max_new_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, torch.tensor(tokens))
    assert answer.tokens.visual_kept == len(kept)
    assert answer.tokens.text == inputs["input_ids"].shape[1] - len(visual)


@pytest.mark.parametrize(("family", "method"), covered(product(WOVEN, METHODS), together=1))
def test_methods_leave_it_whole(family: str, method: str) -> None:
    """As the stock decoder answers where what was dropped of the video is masked."""
    model, processor, layout = found(family)
    heard = audio()
    inputs = stock_inputs(family, heard)
    visual = (inputs["input_ids"][0] == layout.discovered.token_id).nonzero().flatten().tolist()
    ours = session(family, heard)
    merge_ratio, prune_ratio = METHODS[method]
    tokens, _, _ = Masked(model, inputs, ours.video.frames, visual).generate(
        NEW_TOKENS, merge_ratio=merge_ratio, prune_ratio=prune_ratio or 0.0
    )
    answer = ours.ask(QUESTION, method_of(method, "kept"), max_new_tokens=NEW_TOKENS)
    assert answer.answer == words(processor, torch.tensor(tokens))
    assert answer.tokens.visual == len(visual)
    assert answer.tokens.text == inputs["input_ids"].shape[1] - len(visual)
