"""Processors of all models: the method of a request travels to the model with its videos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems
from vllm.multimodal.parse import MultiModalDataItems
from vllm.multimodal.processing import (
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    InputProcessingContext,
    PromptReplacement,
    PromptUpdate,
    PromptUpdateDetails,
)

from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.engine.selecting import selected
from dycoke_cli.errors import UsageError
from dycoke_vllm.admission import KEY, Positions, admitted, kept_tokens


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
    """Reads the method of a request: a mix-in, in front of a model's own class."""

    positions: ClassVar[Positions] = "renumbered"  # of the remaining tokens; see `admitted`

    def __init__(self, ctx: InputProcessingContext) -> None:
        super().__init__(HidingContext(ctx.model_config, ctx.tokenizer))
        self.spec({})  # a default that can't be served ends the start, not each request

    @property
    def recounts(self) -> bool:
        """Whether prompts may be shorter than the stock processor makes them."""
        multimodal = self.ctx.model_config.get_multimodal_config()
        return self.positions == "renumbered" or multimodal.is_multimodal_pruning_enabled()

    def spec(self, request: Mapping[str, object]) -> str:
        """The spec of a request's method, or that which the server was started with."""
        server = self.ctx.model_config.get_multimodal_config().mm_processor_kwargs or {}
        spec = request.get(KEY, server.get(KEY, Method.name))
        if not isinstance(spec, str):
            raise UsageError(f"mm_processor_kwargs.{KEY} must be a text such as 'evs:retain=0.25'")
        admitted(spec, self.positions)
        if spec != Method.name and not self.recounts:
            raise UsageError(
                f"mm_processor_kwargs.{KEY}: with this model a server has to be started with "
                "--video-pruning-rate 0.5 (any number above 0 will do: the method says how many "
                "tokens are kept), for vLLM computes positions anew only then"
            )
        return spec


class CompressingProcessor(BaseMultiModalProcessor[Any]):
    """Sends the method with each video, and sizes prompts by it."""

    info: CompressingInfo
    per_video: ClassVar[str]  # an output of the stock processor that has an item per video
    tail: ClassVar[int] = 0  # placeholders of a video that no method drops

    def apply(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Process a request."""
        self.info.spec(inputs.hf_processor_mm_kwargs)
        return super().apply(inputs, *args, **kwargs)

    def video_token(self) -> int:
        """The token that stands in a prompt for each token of a video."""
        raise NotImplementedError

    def size(
        self, mm_items: MultiModalDataItems, outputs: MultiModalKwargsItems, video: int
    ) -> tuple[int, int]:
        """Frames as the model sees them, and tokens per frame."""
        raise NotImplementedError

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """The largest request, from which vLLM plans its memory: one without compression."""
        inputs = super().get_dummy_inputs(*args, **kwargs)
        return replace(inputs, hf_processor_mm_kwargs={KEY: Method.name})

    def _get_cache_missing_processor_kwargs(self, inputs: Any, *args: Any) -> Mapping[str, object]:
        # Some models resolve them by the context, which hides the method.
        kwargs = super()._get_cache_missing_processor_kwargs(inputs, *args)
        return {**kwargs, KEY: self.info.spec(inputs.hf_processor_mm_kwargs)}

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

    def _get_prompt_updates(
        self,
        mm_items: MultiModalDataItems,
        hf_processor_mm_kwargs: Mapping[str, object],
        out_mm_kwargs: MultiModalKwargsItems,
    ) -> Sequence[PromptUpdate]:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        if not self.info.recounts:
            return updates
        spec, token = self.info.spec(hf_processor_mm_kwargs), self.video_token()

        def recounted(update: PromptReplacement) -> PromptReplacement:
            def content(video: int) -> PromptUpdateDetails:
                stock = update.replacement(video)
                full = stock.full if isinstance(stock, PromptUpdateDetails) else stock
                size = self.size(mm_items, out_mm_kwargs, video)
                count = kept_tokens(spec, self.info.positions, *size) + self.tail
                place = full.index(token)
                others = [each for each in full[place:] if each != token]
                return PromptUpdateDetails.from_seq([*full[:place], *[token] * count, *others])

            return replace(update, replacement=content)

        return [
            recounted(update)
            if isinstance(update, PromptReplacement) and update.modality == "video"
            else update
            for update in updates
        ]


class VideoGridProcessor(CompressingProcessor):
    """Of Qwen-VL models, whose frames have the tokens that fit their shape."""

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


def choose(features: torch.Tensor, row: torch.Tensor, positions: Positions) -> Selection:
    """The tokens that the language model gets of a video; those merged have their features.

    Args:
        features: `[F, N, D]`, float: all of them.
        row: `[bytes]`, int64: the spec of the method, as the processor sent it.
        positions: see `admitted`.
    """
    method = admitted(bytes(row.tolist()).decode(), positions)
    selection = selected(method, SelectionInputs(features))
    if selection.features is not None:
        return selection
    return Selection(selection.kept, features.flatten(0, 1)[selection.kept])
