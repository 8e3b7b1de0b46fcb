"""LLaVA-OneVision: positions are those of the sequence, and a newline token ends a video."""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems, VideoProcessorItems

from dycoke_vllm.admission import KEY
from dycoke_vllm.processing import CompressingInfo, CompressingProcessor, choose


class Info(CompressingInfo, LlavaOnevisionProcessingInfo):
    """What is known of the model before it is run."""


class Processor(CompressingProcessor, LlavaOnevisionMultiModalProcessor):
    """Counts the tokens of a video by the method of its request, and the newline."""

    info: Info
    per_video = "pixel_values_videos"
    tail = 1

    def video_token(self) -> int:
        """See `CompressingProcessor`."""
        return int(self.info.get_hf_config().video_token_index)

    def size(
        self, mm_items: MultiModalDataItems, outputs: MultiModalKwargsItems, video: int
    ) -> tuple[int, int]:
        """See `CompressingProcessor`."""
        videos = mm_items.get_items("video", VideoProcessorItems)
        picture, frames = videos.get_frame_size(video), videos.get_num_frames(video)
        tokens = self.info.get_num_video_tokens(
            image_width=picture.width, image_height=picture.height, num_frames=frames
        )
        return frames, (tokens - self.tail) // frames


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=LlavaOnevisionDummyInputsBuilder
)
class CompressingLlavaOnevision(LlavaOnevisionForConditionalGeneration):
    """vLLM's model, which drops or merges visual tokens behind its vision tower."""

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """The tokens of each item, `[tokens, D]`: of a video those kept, and the newline."""
        specs = kwargs.pop(KEY, None)
        embedded = super().embed_multimodal(**kwargs)
        if specs is None:  # images: a call has items of one kind
            return embedded
        pixels = kwargs["pixel_values_videos"]
        return tuple(
            _compressed(tokens.flatten(0, -2), len(frames), spec)
            for tokens, frames, spec in zip(embedded, pixels, specs, strict=True)
        )


def _compressed(tokens: torch.Tensor, frames: int, spec: torch.Tensor) -> torch.Tensor:
    video, newline = tokens[:-1], tokens[-1:]
    selection = choose(video.view(frames, -1, video.shape[-1]), spec, Info.positions)
    assert selection.features is not None
    return torch.cat([selection.features, newline])
