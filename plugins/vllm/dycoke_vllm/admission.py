"""Which methods can run inside vLLM: those that select by features, before the language model."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from dycoke_cli.compression.method import Method, layer_prunings, with_model_defaults
from dycoke_cli.compression.registry import create, parse_spec
from dycoke_cli.errors import UsageError
from dycoke_cli.param import parameters_of

KEY = "dycoke"
"""Of `mm_processor_kwargs`: the method of a request, or of a server, as `--method` takes it."""

_FLAG = f"mm_processor_kwargs.{KEY}"

Positions = Literal["renumbered", "kept"]


@lru_cache(maxsize=256)
def admitted(spec: str, positions: Positions) -> Method:
    """The method of a spec, if an engine can serve it.

    Args:
        spec: such as `evs:retain=0.25`.
    """
    given = parse_spec(spec, _FLAG)
    try:
        # A layer has to be named, for methods that are refused for having one.
        defaults = {"positions": positions, "prune_layer": 1}
        method = with_model_defaults(create(given.method, **given.given), defaults)
        reason = _reason(method, positions)
    except UsageError as error:
        raise UsageError(f"{_FLAG} {spec}: {error}") from error
    if reason is not None:
        raise UsageError(f"{_FLAG}: {spec} can't run in vLLM: {reason}")
    return method


def kept_tokens(spec: str, positions: Positions, frames: int, per_frame: int) -> int:
    """How many tokens of a video the language model gets; known before anything is encoded."""
    return admitted(spec, positions).kept_tokens(frames, per_frame)


def _reason(method: Method, positions: Positions) -> str | None:
    """Why a method can't run there; None where it can."""
    if layer_prunings(method):
        return "it drops tokens between the layers of the language model, which are vLLM's own"
    if method.weighs_merged():
        return "vLLM's attention takes no weights of tokens; drop proportional"
    if method.pruning() is not None:
        return "it prunes the KV cache in decode, which paged attention can't; add kv_prune=false"
    parameters = parameters_of(type(method))
    if method.in_tower() is not None:
        way_out = "; drop merge_stage" if "merge_stage" in parameters else ""
        return f"it drops tokens inside the vision tower, which is vLLM's own{way_out}"
    if method.shrink() is not None:
        return "it scales frames down before the vision tower, which vLLM does itself"
    if "attention" in method.needs:
        return "it needs the attention of the vision tower, which vLLM's doesn't return"
    if method.reads_before:
        return "it needs the language model's attention to each frame; drop frames_by"
    if "question" in method.needs:
        return "it needs the question, and vLLM encodes a video once for all questions about it"
    asked = "renumbered" if method.renumbers() else "kept"
    if "positions" in parameters and asked != positions:
        return f"its remaining tokens have {asked} positions, and this model's are {positions}"
    return None
