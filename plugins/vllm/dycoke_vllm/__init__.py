"""dycoke in vLLM: models whose visual tokens are compressed by the method that a request names.

vLLM calls `register` in each of its processes, by its entry point. `admission.py` says which
methods an engine can serve and imports no vLLM; a model's module has its processor, which counts
the tokens that a method will keep, and its class, which selects them behind the vision tower.
"""

from __future__ import annotations

MODELS = {
    "LlavaOnevisionForConditionalGeneration": "llava_onevision:CompressingLlavaOnevision",
    "Qwen2_5_VLForConditionalGeneration": "qwen25_vl:CompressingQwen25VL",
    "Qwen3VLForConditionalGeneration": "qwen3_vl:CompressingQwen3VL",
    "Qwen3VLMoeForConditionalGeneration": "qwen3_vl:CompressingQwen3VLMoe",
}
"""The classes that replace vLLM's own, by architecture: module and name. They are named, for vLLM
looks at them in a process of its own."""


def register() -> None:
    """Register the models; may be called more than once."""
    from vllm import ModelRegistry

    for architecture, name in MODELS.items():
        ModelRegistry.register_model(architecture, f"{__name__}.{name}")
