"""When memory runs out while a question is answered: which flag helps depends on the stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models.devices import input_device, is_out_of_memory

if TYPE_CHECKING:
    from dycoke_cli.compression.bound import BoundMethod


class Stage:
    """How far an answer is: "vision", "prefill" or "decode"."""

    def __init__(self) -> None:
        self.name = "vision"


@contextmanager
def explained(stage: Stage, method: BoundMethod, model: Any) -> Iterator[None]:
    """Turn what allocators raise into a sentence.

    Args:
        stage: kept up to date by whoever answers.
        method: the compression method.
        model: that answers.

    Raises:
        OutOfMemoryError: with the flags that help at this stage.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"memory ran out while {_DOING[stage.name]}; use {_ways(stage.name, method, model)}"
        ) from error


_DOING = {
    "vision": "the video was encoded, a few frames at a time",
    "prefill": "the prompt was prefilled",
    "decode": "the answer was generated",
}


def _ways(stage: str, method: BoundMethod, model: Any) -> str:
    given, pruning = method.parameters(), method.pruning()
    ways = []
    if stage == "vision" and model.dtype == torch.float32:
        ways.append("--dtype bfloat16")
    if stage != "vision":
        ways.append("fewer --frames")
        if given.get("ttm"):
            ways.append("a larger --merge-ratio")
        elif method.name == "none":
            ways.append("--method dycoke")
    if stage == "decode":
        if pruning and pruning.dp_cache == "device" and input_device(model).type == "cuda":
            ways.insert(0, "--dp-cache host" if given.get("recall", True) else "--dp-cache discard")
        ways.append("fewer --max-new-tokens")
    *most, last = [*ways, "a smaller --model"]
    return f"{', '.join(most)} or {last}" if most else last
