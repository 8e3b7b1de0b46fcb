"""Qwen3-VL: methods are refused, in place of being ignored.

Between the frames of its videos are time stamps, and how many tokens each frame keeps isn't known
when the prompt is made. vLLM 0.32 has a layout for that, but computes its positions wrongly beside
transformers 5.10 and later: its own pruning ends the engine there.
"""

from __future__ import annotations

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

from dycoke_vllm.processing import CompressingInfo, RefusingProcessor

_WHY = "Qwen3-VL takes no method in vLLM yet: vLLM gives its shortened videos wrong positions"


class Info(CompressingInfo, Qwen3VLProcessingInfo):
    """What is known of the model before it is run."""

    positions = "kept"
    unserved = _WHY


class MoeInfo(CompressingInfo, Qwen3VLMoeProcessingInfo):
    """The same, with a mixture of experts."""

    positions = "kept"
    unserved = _WHY


class Processor(RefusingProcessor, Qwen3VLMultiModalProcessor):
    """Refuses methods."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=Info, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class RefusingQwen3VL(Qwen3VLForConditionalGeneration):
    """vLLM's model."""


@MULTIMODAL_REGISTRY.register_processor(
    Processor, info=MoeInfo, dummy_inputs=Qwen3VLDummyInputsBuilder
)
class RefusingQwen3VLMoe(Qwen3VLMoeForConditionalGeneration):
    """The same, with a mixture of experts."""
