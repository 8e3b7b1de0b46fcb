"""Frames that are resized as they arrive give the stock processor's output on the original frames.

For each family, bit for bit: larger and smaller frames than the model reads, odd shapes, one frame
and many. The reference is the stock processor, called as its documentation says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from dycoke_cli.models.catalog import published, published_names
from dycoke_cli.models.families import FAMILIES
from dycoke_cli.models.families.layout import normalised
from dycoke_cli.models.load import byte_processor
from dycoke_cli.models.prompts.stock_processor import ShownFrames
from dycoke_cli.models.prompts.stock_prompt import fit_of, fitted, make_prompt
from tests.families.stock import one_of_each_kind, processed
from tests.families.tiny import MAKERS, kind

# Frames, height and width; the tiny models read about 16 × 16, or patches of 14 and more.
CLIPS = ((4, 450, 631), (5, 300, 97), (3, 24, 32), (1, 720, 406), (9, 121, 160))
# Published processors read up to 768 × 28 × 28 pixels.
LARGE_CLIPS = ((2, 1080, 1920), (1, 1279, 719), (3, 90, 160))
# What the table sets beside the checkpoint's own settings; see docs/models.md.
SET: dict[str, dict[str, Any]] = {
    "qwen2-vl-2b": {"size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}},
    "qwen2.5-vl-3b": {"size": {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}},
    "internvl3-1b": {"size": {"height": 448, "width": 448}},
}
# Two frames of 1080p are below their limit of pixels, which is that of the whole clip.
LIMIT_THE_CLIP = ("qwen3-vl-2b", "glm-4.1v-9b")
SMALLEST = (
    "llava-onevision-0.5b", "llava-next-video-7b", "video-llava-7b", "qwen2-vl-2b", "qwen2.5-vl-3b",
    "qwen3-vl-2b", "glm-4.1v-9b", "videollama3-2b", "internvl3-1b", "smolvlm2-500m",
)  # fmt: skip


def noise(frames: int, height: int, width: int) -> Any:
    """Every rounding of every pixel counts."""
    generator = np.random.default_rng(frames * height * width)
    pixels = generator.integers(0, 256, (frames, height, width, 3), np.uint8)
    return ShownFrames(pixels, tuple(0.25 * i for i in range(frames)))


def check(
    family: str, processor: Any, config: Any, shape: tuple[int, int, int], **options: Any
) -> bool:
    """Compare; returns whether the frames were resized before the processor saw them."""
    table, decoded = FAMILIES[kind(family)], noise(*shape)
    shown = fitted(decoded, fit_of(processor, table, config))
    prompt = make_prompt(processor, table, config, shown)
    ours = {**prompt.inputs, "input_ids": prompt.input_ids("")}
    key = table.pixels.key
    ours[key] = normalised(ours[key], processor.video_processor, table.pixels)
    for name, stock in processed(family, processor, decoded, question="", **options).items():
        if name in ours:
            assert torch.equal(ours[name], stock), f"{name} of {shape}"
    assert shown.frames.nbytes <= decoded.frames.nbytes
    return shown.resize is not None


@pytest.mark.slow
@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_is_the_stock_output_on_the_original_frames(family: str) -> None:
    """Bicubic, in two steps (SmolVLM), in float without antialiasing (Molmo 2), patch multiples."""
    model, processor = MAKERS[family]()
    resized = [check(family, processor, model.config, size) for size in CLIPS]
    assert resized[0], "frames are kept larger than the model reads them"
    assert resized[3], "a single frame is"


@pytest.mark.slow
@pytest.mark.parametrize("name", one_of_each_kind(SMALLEST, ("qwen2.5-vl-3b", *LIMIT_THE_CLIP)))
def test_so_are_published_processors(name: str) -> None:
    """One of each processor in the package: their sizes, crops and interpolations."""
    model = published(name)
    config = AutoConfig.for_model(**model.config)
    processor = byte_processor(model, 300)
    options, family = SET.get(name, {}), config.model_type
    resized = [check(family, processor, config, shape, **options) for shape in LARGE_CLIPS]
    assert resized[0] is (name not in LIMIT_THE_CLIP)


def test_each_published_processor_is_tested() -> None:
    kinds = {published(name).processor["class"] for name in SMALLEST}
    assert kinds == {published(name).processor["class"] for name in published_names()}


def test_smaller_frames_are_kept_as_they_are() -> None:
    """A processor that enlarges them would have more bytes to be kept."""
    model, processor = MAKERS["gemma4"]()
    small = noise(2, 24, 32)
    assert fitted(small, fit_of(processor, FAMILIES["gemma4"], model.config)) is small


def test_a_processor_that_has_to_see_pixels_gets_the_original_frames() -> None:
    """And one outside the table, whose ways nobody has tested."""
    model, processor = MAKERS["llava_onevision"]()
    table = FAMILIES["llava_onevision"]

    class Looks:
        """Decides by the pixels."""

        def __getattr__(self, name: str) -> Any:
            return getattr(processor, name)

        def __call__(self, videos: Any, **options: Any) -> Any:
            assert videos[0][0].sum() >= 0
            return processor(videos=videos, **options)

    clip = noise(2, 90, 120)
    assert fitted(clip, fit_of(Looks(), table, model.config)) is clip
    unlisted = replace(table, stock_inputs=True)
    assert fitted(clip, fit_of(processor, unlisted, model.config)) is clip
    assert fitted(clip, fit_of(processor, table, model.config)) is not clip
