"""`--device-map auto`: the layers of a model that is too big for one device, over all there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.packages import need
from dycoke_cli.models.quantizing import EXTRA, by_bitsandbytes, stored_quantized

# What the loaders say, on 5.17.0 and 5.23.0, when the layers don't fit.
_QUANTIZED_OFFLOAD = "dispatched on the CPU or the disk"
_DISK_OFFLOAD = "offloaded to the disk"


def check_device_map(device_map: str | None, quantize: str | None) -> None:
    """Check that a model can be spread here.

    Args:
        device_map: "auto" or None.
        quantize: "int8", "int4" or None.

    Raises:
        UsageError: together with `quantize` where there is no CUDA device.
        ModelError: accelerate isn't installed.
    """
    if device_map is None:
        return
    if quantize is not None and not torch.cuda.is_available():
        raise UsageError(
            f"--device-map auto with --quantize {quantize} needs a CUDA device, and there is none; "
            "drop one of them"
        )
    need("accelerate", EXTRA, "--device-map auto")


def placement(
    device_map: str | None, quantize: str | None, config: Any, device: torch.device
) -> dict[str, Any]:
    """What `from_pretrained` takes for the place of the weights; empty where we move them.

    Args:
        device_map: "auto" or None.
        quantize: "int8", "int4" or None.
        config: of the model.
        device: where a model on one device will run.
    """
    if device_map is not None:
        return {"device_map": device_map}
    if stored_quantized(config) or (quantize is not None and by_bitsandbytes(quantize, device)):
        return {"device_map": {"": str(device)}}  # such weights can't be moved afterwards
    return {}


@contextmanager
def too_big_explained(name: str, quantize: str | None) -> Iterator[None]:
    """Turn what the loaders say of a model that doesn't fit into what to do.

    Args:
        name: of the model.
        quantize: "int8", "int4" or None.

    Raises:
        UsageError: quantized layers would have to wait outside the GPUs.
        ModelError: it doesn't fit into memory.
    """
    try:
        yield
    except ValueError as error:
        if _QUANTIZED_OFFLOAD in str(error):
            raise UsageError(
                f"{name} doesn't fit the GPUs with --quantize {quantize}, and quantized layers "
                "can't wait outside them; use "
                + ("int4 or a smaller model" if quantize == "int8" else "a smaller model")
            ) from error
        if _DISK_OFFLOAD in str(error):
            raise ModelError(
                f"{name} doesn't fit into the memory of all devices; use --quantize int4 or a "
                "smaller model"
            ) from error
        raise
