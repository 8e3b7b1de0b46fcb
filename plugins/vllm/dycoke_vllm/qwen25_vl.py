"""Qwen2.5-VL: positions are time, height and width, and remaining tokens keep theirs.

vLLM has a protocol for that (`SupportsMultiModalPruning`), which its own video pruning uses: a
model puts the positions of each token beside its features, and vLLM hands them back with all
positions of the prompt. It does so where a server was started with a pruning rate. Here the model
is made to prune nothing by it, so that each token comes with its positions; then the method of the
request selects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.inputs import MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems

from dycoke_vllm.admission import KEY
from dycoke_vllm.processing import CompressingInfo, CompressingProcessor, choose

CHANNELS = 4
"""Behind the features of a token: time, height, width, and one that vLLM's own pruning reads."""


class Info(CompressingInfo, Qwen2_5_VLProcessingInfo):
    """What is known of the model before it is run."""

    positions = "kept"


class Processor(CompressingProcessor, Qwen2_5_VLMultiModalProcessor):
    """Counts the tokens of a video by the method of its request."""

    info: Info
    per_video = "video_grid_thw"

    def video_token(self) -> int:
        """See `CompressingProcessor`."""
        return int(self.info.get_hf_config().video_token_id)

    def size(
        self, mm_items: MultiModalDataItems, outputs: MultiModalKwargsItems, video: int
    ) -> tuple[int, int]:
        """See `CompressingProcessor`."""
        frames, height, width = map(int, outputs["video"][video]["video_grid_thw"].data)
        merge = self.info.get_hf_config().vision_config.spatial_merge_size
        return frames, height * width // merge**2


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=Qwen2_5_VLDummyInputsBuilder
)
class CompressingQwen25VL(Qwen2_5_VLForConditionalGeneration):
    """vLLM's model, which drops or merges visual tokens behind its vision tower.

    Positions of a prompt are those of stock transformers, as in dycoke, whatever was found in
    vLLM's cache of prefixes: those of text don't depend on which tokens are kept.
    """

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
        """The tokens of each item, `[tokens, D + CHANNELS]`; `[tokens, D]` without a rate."""
        specs = kwargs.pop(KEY, None)
        embedded = super().embed_multimodal(**kwargs)
        if specs is None or not self.is_multimodal_pruning_enabled:
            return embedded
        return tuple(
            _compressed(tokens, int(grid[0]), spec)
            for tokens, grid, spec in zip(embedded, kwargs["video_grid_thw"], specs, strict=True)
        )

    def get_mrope_input_positions(
        self, input_tokens: list[int], mm_features: list[Any]
    ) -> tuple[torch.Tensor, int]:
        """Positions `[3, N]`, int64, of a prompt, and what a decoding step adds to its index.

        Those of visual tokens are where their item begins, until `recompute_mrope_positions`.
        """
        if not self.is_multimodal_pruning_enabled:
            return super().get_mrope_input_positions(input_tokens, mm_features)
        steps = torch.ones(len(input_tokens), dtype=torch.long)
        for feature in mm_features:
            begin, end = (
                feature.mm_position.offset,
                feature.mm_position.offset + feature.mm_position.length,
            )
            _, height, width = feature.data[f"{feature.modality}_grid_thw"].data.tolist()
            steps[begin:end] = 0
            steps[end - 1] = max(height, width) // self.visual.spatial_merge_size
        positions = steps.cumsum(0) - steps
        delta = int(steps.sum()) - len(input_tokens)
        return positions.expand(3, -1).clone(), delta

    def recompute_mrope_positions(
        self,
        input_ids: list[int] | torch.Tensor,
        multimodal_embeddings: Sequence[torch.Tensor],
        mrope_positions: torch.Tensor,
        num_computed_tokens: int,
    ) -> tuple[Sequence[torch.Tensor], torch.Tensor, int]:
        """See `SupportsMultiModalPruning`: of the tokens of a chunk, features and positions."""
        positions = mrope_positions.clone()
        ids = torch.as_tensor(input_ids, device=positions.device)
        visual = (ids == self.config.video_token_id) | (ids == self.config.image_token_id)
        index = torch.arange(len(ids), device=ids.device)
        # An item is behind a token of text, whose position says where it begins.
        text_before = index.masked_fill(visual, -1).cummax(0).values
        [rows] = visual.nonzero(as_tuple=True)
        beside = [each[:, -CHANNELS:-1].to(positions).T for each in multimodal_embeddings]
        if beside:
            found = torch.cat(beside, dim=1)
            rows = rows[rows >= num_computed_tokens][: found.shape[1]]
            positions[:, rows] = found + positions[:, text_before[rows]] + 1
        features = [each[:, :-CHANNELS] for each in multimodal_embeddings]
        return features, positions, int(positions[0, -1]) + 1 - len(ids)


def _compressed(tokens: torch.Tensor, frames: int, spec: torch.Tensor) -> torch.Tensor:
    features, beside = tokens[:, :-CHANNELS], tokens[:, -CHANNELS:]
    selection = choose(features.unflatten(0, (frames, -1)), spec, "kept")
    assert selection.features is not None
    return torch.cat([selection.features, beside[selection.kept]], dim=1)
