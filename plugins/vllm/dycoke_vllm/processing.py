"""Processors of all models: the method of a request travels to the model with its videos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import (
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    InputProcessingContext,
)

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.selection import Given
from dycoke_cli.errors import UsageError
from dycoke_vllm.admission import KEY, Positions, admitted


@dataclass(frozen=True)
class HidingContext(InputProcessingContext):
    """Hides the method from the stock processor, which would refuse an argument it doesn't know."""

    def get_merged_mm_kwargs(self, kwargs: Mapping[str, object], **options: Any) -> dict[str, Any]:
        """What the stock processor is called with."""
        merged = super().get_merged_mm_kwargs(kwargs, **options)
        merged.pop(KEY, None)
        return merged

    def get_hf_processor(self, *args: Any, **kwargs: Any) -> Any:
        """The stock processor: one for all methods."""
        kwargs.pop(KEY, None)
        return super().get_hf_processor(*args, **kwargs)


class CompressingInfo(BaseProcessingInfo):
    """Reads the method of a request: a mix-in, in front of a model's own class.

    Attributes:
        positions: of the remaining tokens; see `admitted`.
    """

    positions: ClassVar[Positions] = "renumbered"

    def __init__(self, ctx: InputProcessingContext) -> None:
        super().__init__(HidingContext(ctx.model_config, ctx.tokenizer))
        self.spec({})  # a default that can't be served ends the start, not each request

    def spec(self, request: Mapping[str, object]) -> str:
        """The spec of a request's method, or that which the server was started with.

        Args:
            request: its `mm_processor_kwargs`.

        Raises:
            UsageError: see `admitted`.
        """
        server = self.ctx.model_config.get_multimodal_config().mm_processor_kwargs or {}
        spec = request.get(KEY, server.get(KEY, Method.name))
        if not isinstance(spec, str):
            raise UsageError(f"mm_processor_kwargs.{KEY} must be a text such as 'evs:retain=0.25'")
        admitted(spec, self.positions)
        return spec


class CompressingProcessor(BaseMultiModalProcessor[Any]):
    """Sends the method to the model with each video: a mix-in, in front of a model's own class.

    Attributes:
        per_video: an output of the stock processor that has an item per video.
    """

    info: CompressingInfo
    per_video: ClassVar[str]

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Process a request.

        Raises:
            UsageError: a method that can't be served, before anything is preprocessed.
        """
        self.info.spec(inputs.hf_processor_mm_kwargs)
        return super().apply(inputs, *args, **kwargs)

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """The largest request, from which vLLM plans its memory: one without compression."""
        inputs = super().get_dummy_inputs(*args, **kwargs)
        return replace(inputs, hf_processor_mm_kwargs={KEY: Method.name})

    def _postprocess_hf_mm_data(
        self,
        mm_inputs: Mapping[str, object],
        hf_processor_mm_kwargs: Mapping[str, object],
        processed_data: BatchFeature,
    ) -> BatchFeature:
        data = super()._postprocess_hf_mm_data(mm_inputs, hf_processor_mm_kwargs, processed_data)
        if self.per_video in data:
            row = torch.tensor(list(self.info.spec(hf_processor_mm_kwargs).encode()))
            data[KEY] = [row] * len(data[self.per_video])
        return data

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields = super()._get_mm_fields_config(hf_inputs, hf_processor_mm_kwargs)
        return {**fields, KEY: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}


def compress(features: torch.Tensor, row: torch.Tensor, positions: Positions) -> torch.Tensor:
    """The tokens that the language model gets of a video, `[M, D]`.

    Args:
        features: `[F, N, D]`, float: all of them.
        row: `[bytes]`, int64: the spec of the method, as the processor sent it.
        positions: see `admitted`.
    """
    selection = admitted(bytes(row.tolist()).decode(), positions).choose(Given(features))
    if selection.features is not None:
        return selection.features
    return features.flatten(0, 1)[selection.kept]
