"""Qwen3-VL: between the frames of its videos are time stamps, which no method drops.

When a prompt is made it isn't known how many tokens each frame keeps. So all are counted in the
first frame's place, as vLLM does for its own pruning, and the model puts the features of the time
stamps beside those of the frames where they belong. Positions are worked out here (`mrope.py`):
vLLM 0.32 looks for them from the start of vision on that is in the prompt, which is another one
beside transformers 5.10 and later, and its own pruning ends the engine there.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.model_executor.models.qwen3_vl_moe import (
    Qwen3VLMoeForConditionalGeneration,
    Qwen3VLMoeProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from dycoke_vllm.admission import KEY
from dycoke_vllm.mrope import OriginalPositions
from dycoke_vllm.processing import CompressingInfo, VideoGridProcessor, choose


class Info(CompressingInfo, Qwen3VLProcessingInfo):
    """What is known of the model before it is run."""

    positions = "kept"


class MoeInfo(CompressingInfo, Qwen3VLMoeProcessingInfo):
    """The same, with a mixture of experts."""

    positions = "kept"


class Processor(VideoGridProcessor, Qwen3VLMultiModalProcessor):
    """Counts the tokens of a video by the method of its request, and its time stamps."""


class _Compressing(OriginalPositions):
    """Drops or merges visual tokens behind the vision tower, DeepStack's alike."""

    channels = 5

    def embed_multimodal(self: Any, **kwargs: Any) -> Any:
        """The tokens of each item, `[tokens, D · (1 + levels) + channels]`, time stamps among them.

        Without a rate those of its frames alone, without channels.
        """
        specs = kwargs.pop(KEY, None)
        if specs is None or not self.is_multimodal_pruning_enabled:
            return super().embed_multimodal(**kwargs)  # type: ignore[misc]
        video = self._parse_and_validate_video_input(**kwargs)
        videos = zip(
            self._process_video_input(video),
            specs,
            video["video_grid_thw"].tolist(),
            video.timestamps,
            strict=True,
        )
        return tuple(self._compressed(*each) for each in videos)

    def _compressed(
        self: Any, tokens: torch.Tensor, spec: torch.Tensor, grid: list[int], timestamps: Any
    ) -> torch.Tensor:
        frames, features = grid[0], tokens[:, : self.visual_dim]
        selection = choose(features.unflatten(0, (frames, -1)), spec, "kept")
        assert selection.features is not None
        deepstack = tokens[:, self.visual_dim :][selection.kept]
        per_frame = selection.kept // (len(tokens) // frames)
        return self._create_final_video_embeddings(
            video_embeddings=torch.cat([selection.features.to(deepstack), deepstack], dim=1),
            num_tokens_per_frame=per_frame.bincount(minlength=frames).tolist(),
            timestamps=timestamps,
            video_grid_thw=grid,
            retention_mask=selection.kept,
        )

    def _get_expanded_positions(
        self: Any,
        *,
        is_video_embed: torch.Tensor,
        is_vision_start: torch.Tensor,
        video_grid_thw: list[int],
        retention_mask: torch.Tensor,
        **_: Any,
    ) -> torch.Tensor:
        """Channels `[tokens, channels]` of a video, float32: bfloat16 rounds them from 256 on.

        Its arguments are those of vLLM's; `retention_mask` is what `_compressed` gives it.
        """
        merge = self.visual.spatial_merge_size
        rows, columns = (side // merge for side in video_grid_thw[1:])
        extent = max(rows, columns)
        steps = (~is_video_embed).long() + extent * is_vision_start.long()
        positions = (steps.cumsum(0) - steps - extent * is_video_embed).repeat(self.channels, 1)
        in_frame = retention_mask % (rows * columns)
        positions[1, is_video_embed] += in_frame // columns
        positions[2, is_video_embed] += in_frame % columns
        return positions.T.float()

    def extent(self: Any, input_tokens: list[int], feature: Any) -> int:
        """See `OriginalPositions`."""
        frames, *sides = feature.data[f"{feature.modality}_grid_thw"].data.tolist()
        place, token = feature.mm_position, self.config.video_token_id
        item = input_tokens[place.offset : place.offset + place.length]
        stamps = 0 if feature.modality == "image" else len(item) - item.count(token)
        return stamps + frames * (max(sides) // int(self.visual.spatial_merge_size))


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class CompressingQwen3VL(_Compressing, Qwen3VLForConditionalGeneration):
    """vLLM's model."""

    # vLLM reads from the signature which arguments a class takes.
    def __init__(self, *, vllm_config: Any, prefix: str = "model") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=MoeInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class CompressingQwen3VLMoe(_Compressing, Qwen3VLMoeForConditionalGeneration):
    """The same, with a mixture of experts."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
