"""The size rules against the stock video processors: random sizes, and clips that are processed."""

import math
import random
from importlib import import_module
from inspect import signature

import numpy as np
import pytest
import transformers as tf
from transformers.models.gemma4.video_processing_gemma4 import get_aspect_ratio_preserving_size

from dycoke_cli.models.catalog import CATALOG, FittedShape, KeptShape
from dycoke_cli.models.families import family_of
from dycoke_cli.models.prompts.stock_prompt import make_prompt
from tests.families.stock import clip
from tests.families.tiny import make

PROCESSORS = {
    "qwen2-vl-2b": tf.Qwen2VLVideoProcessor,
    "qwen2.5-vl-3b": tf.Qwen2VLVideoProcessor,
    "qwen3-vl-2b": tf.Qwen3VLVideoProcessor,
    "qwen3-vl-30b-a3b": tf.Qwen3VLVideoProcessor,
    "qwen3.5-4b": tf.Qwen3VLVideoProcessor,
    "qwen3.5-35b-a3b": tf.Qwen3VLVideoProcessor,
    "glm-4.1v-9b": tf.Glm4vVideoProcessor,
    "glm-4.6v-flash": tf.Glm46VVideoProcessor,
    "glm-4.5v": tf.Glm4vVideoProcessor,
}
SHARED = KeptShape(side=28, least=12544, most=12845056, limits="share", merged=1)


def sizes(count=300):
    """Frames, height and width: small and large, upright and lying, near the limits and far."""
    numbers = random.Random(0)
    for _ in range(count):
        height = round(2 ** numbers.uniform(3, 12))
        width = max(8, round(height * 2 ** numbers.uniform(-3, 3)))
        yield numbers.choice([2, 3, 4, 5, 8, 13, 32, 33, 128]), height, width


def by_processor(processor, rule, frames, height, width):
    """By the function that it resizes with: what else it counts by differs from it in 5.17."""
    resize = import_module(type(processor).__module__).smart_resize
    side, merged = processor.patch_size * processor.merge_size, processor.temporal_patch_size
    limits = {"factor": side, "min_pixels": rule.least, "max_pixels": rule.most}
    if isinstance(processor, tf.VideoLlama3VideoProcessor):
        limits["max_pixels"] //= frames
    elif "num_frames" in signature(resize).parameters:
        limits |= {"num_frames": frames, "temporal_factor": merged}
    resized = resize(height=height, width=width, **limits)
    return -(-frames // merged) * math.prod(resized) // side**2


@pytest.mark.parametrize("name", PROCESSORS)
def test_random_sizes_are_those_of_the_stock_processor(name):
    rule, processor = CATALOG[name].shape, PROCESSORS[name]()
    assert rule.side == processor.patch_size * processor.merge_size
    assert rule.merged == processor.temporal_patch_size
    for size in sizes():
        assert rule.tokens(*size).visual == by_processor(processor, rule, *size), size


def test_random_sizes_where_frames_share_the_limit():
    processor = tf.VideoLlama3VideoProcessor()
    for size in sizes():
        assert SHARED.tokens(*size).visual == by_processor(processor, SHARED, *size), size


def test_random_sizes_that_are_fitted():
    rule = CATALOG["gemma-4-e2b"].shape
    processor = tf.Gemma4VideoProcessor()
    kernel, patch = processor.pooling_kernel_size, processor.patch_size
    for frames, height, width in sizes():
        new_height, new_width = get_aspect_ratio_preserving_size(
            height, width, patch, processor.max_soft_tokens * kernel**2, kernel
        )
        counted = rule.tokens(frames, height, width)
        assert counted.frames == frames
        assert counted.per_frame == new_height * new_width // (kernel * patch) ** 2


TINY = {
    "qwen2_vl": KeptShape(side=8, least=256, most=768, limits="frame", merged=2),
    "qwen3_vl": KeptShape(side=8, least=256, most=30720, limits="clip", merged=2),
    "glm4v": KeptShape(side=8, least=256, most=30720, limits="clip", merged=2),
    "video_llama_3": KeptShape(side=8, least=256, most=30720, limits="share", merged=1),
    "gemma4": FittedShape(side=12, most_tokens=70),
}


@pytest.mark.parametrize("frames", [1, 2, 5, 32, 64])
@pytest.mark.parametrize("family", TINY)
def test_a_clip_that_is_processed_has_as_many(family, frames):
    model, processor = make(family)
    shown = clip(frames)
    prompt = make_prompt(processor, family_of(model.config), model.config, shown)
    counted = TINY[family].tokens(*np.shape(shown.frames)[:3])
    assert (counted.frames, counted.per_frame) == (prompt.frames, prompt.tokens_per_frame)
