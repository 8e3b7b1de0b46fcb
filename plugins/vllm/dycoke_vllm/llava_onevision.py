"""LLaVA-OneVision: positions are those of the sequence, and a newline token ends a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from vllm.multimodal.processing import PromptReplacement, PromptUpdate

from dycoke_vllm.admission import KEY, kept_tokens
from dycoke_vllm.processing import CompressingInfo, CompressingProcessor, compress


class Info(CompressingInfo, LlavaOnevisionProcessingInfo):
    """What is known of the model before it is run."""


class Processor(CompressingProcessor, LlavaOnevisionMultiModalProcessor):
    """Counts the tokens of a video by the method of its request."""

    info: Info
    per_video = "pixel_values_videos"

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        token = self.info.get_hf_config().video_token_index

        def placeholders(item: int) -> list[int]:
            videos = mm_items.get_items("video", VideoProcessorItems)
            size, frames = videos.get_frame_size(item), videos.get_num_frames(item)
            per_frame = self.info._get_num_frame_tokens(
                image_width=size.width, image_height=size.height
            )
            spec = self.info.spec(hf_processor_mm_kwargs)
            kept = kept_tokens(spec, self.info.positions, frames, per_frame)
            return [token] * (kept + 1)  # the newline

        return [
            PromptReplacement("video", target=[token], replacement=placeholders)
            if update.modality == "video"
            else update
            for update in updates
        ]


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
            self._compressed(tokens.flatten(0, -2), len(frames), spec)
            for tokens, frames, spec in zip(embedded, pixels, specs, strict=True)
        )

    def _compressed(self, tokens: torch.Tensor, frames: int, spec: torch.Tensor) -> torch.Tensor:
        video, newline = tokens[:-1], tokens[-1:]
        features = video.view(frames, -1, video.shape[-1])
        return torch.cat([compress(features, spec, Info.positions), newline])
