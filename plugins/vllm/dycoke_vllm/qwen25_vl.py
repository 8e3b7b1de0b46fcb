"""Qwen2.5-VL: vLLM's own pruning, which has to be on for positions (`mrope.py`), drops nothing.

Then each token comes with its positions, and the method of the request selects.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from dycoke_vllm.admission import KEY
from dycoke_vllm.mrope import OriginalPositions
from dycoke_vllm.processing import CompressingInfo, VideoGridProcessor, choose


class Info(CompressingInfo, Qwen2_5_VLProcessingInfo):
    """What is known of the model before it is run."""

    positions = "kept"


class Processor(VideoGridProcessor, Qwen2_5_VLMultiModalProcessor):
    """Counts the tokens of a video by the method of its request."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class CompressingQwen25VL(OriginalPositions, Qwen2_5_VLForConditionalGeneration):
    """vLLM's model, which drops or merges visual tokens behind its vision tower."""

    channels = 4

    # vLLM reads from the signature which arguments a class takes.
    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.video_pruning_rate = 0.0  # vLLM's own method, which runs first, keeps every token

    def _process_video_input(self, video_input: Any) -> Any:
        embedded = super()._process_video_input(video_input)
        if not self.is_multimodal_pruning_enabled:
            return embedded
        # Beside them are positions, which bfloat16 rounds from 256 on.
        return tuple(tokens.float() for tokens in embedded)

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The tokens of each item, `[tokens, D + channels]`; `[tokens, D]` without a rate."""
        specs = kwargs.pop(KEY, None)
        embedded = super().embed_multimodal(**kwargs)
        if specs is None or not self.is_multimodal_pruning_enabled:
            return embedded
        return tuple(
            _compressed(tokens, int(grid[0]), spec)
            for tokens, grid, spec in zip(embedded, kwargs["video_grid_thw"], specs, strict=True)
        )

    def extent(self, input_tokens: list[int], feature: Any) -> int:
        """See `OriginalPositions`."""
        _, height, width = feature.data[f"{feature.modality}_grid_thw"].data.tolist()
        return max(height, width) // int(self.visual.spatial_merge_size)


def _compressed(tokens: torch.Tensor, frames: int, spec: torch.Tensor) -> torch.Tensor:
    channels = CompressingQwen25VL.channels
    features, beside = tokens[:, :-channels], tokens[:, -channels:]
    selection = choose(features.unflatten(0, (frames, -1)), spec, "kept")
    assert selection.features is not None
    return torch.cat([selection.features, beside[selection.kept]], dim=1)
