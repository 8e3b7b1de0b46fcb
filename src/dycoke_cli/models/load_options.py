"""The options of loading, and which of them exclude each other; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from dycoke_cli.errors import UsageError

DEVICE_MAPS = ("auto",)
QUANTIZED = ("int8", "int4")
KERNELS = ("fast", "stock")


@dataclass(frozen=True)
class LoadOptions:
    """What `load.load` takes beside a model's name.

    Args:
        device: "auto" (CUDA, then MPS, then CPU), "cpu", "cuda", "cuda:N" or "mps".
        dtype: "auto" (as stored, but bfloat16 for float16 on a CPU), or a name in
            `resolve.DTYPES`.
        revision: branch, tag or commit of a hub model.
        random_weights: build the published configuration with random weights; nothing is
            downloaded.
        device_map: "auto" spreads the layers over all devices; None keeps them on one.
        quantize: "int8" or "int4" for the weights; None leaves them as they are.
        kernels: "fast" computes attention and linear layers on a CPU in ways of our own
            (`dycoke_cli.kernels`; which of them, `models/cpu.py` decides), "stock" in torch's.

    Raises:
        UsageError: a value that isn't known, or two that don't go together.
    """

    device: str = "auto"
    dtype: str = "auto"
    revision: str | None = None
    random_weights: bool = False
    device_map: str | None = None
    quantize: str | None = None
    kernels: str = "fast"

    def __post_init__(self) -> None:
        _check_value("--device-map", self.device_map, DEVICE_MAPS)
        _check_value("--quantize", self.quantize, QUANTIZED)
        _check_value("--kernels", self.kernels, KERNELS)
        if self.device_map is not None and self.device != "auto":
            raise UsageError(
                f"--device-map auto chooses the devices itself; drop --device {self.device}"
            )
        if self.quantize is not None and self.device == "mps":
            raise UsageError("--quantize works on CUDA and on a CPU, not on mps; drop one of them")
        if not self.random_weights:
            return
        others = {"--revision": self.revision, "--device-map": self.device_map}
        for flag, value in others.items():
            if value is not None:
                raise UsageError(
                    f"--random-weights builds a published model whole, on one device; drop {flag}"
                )


def _check_value(flag: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise UsageError(f"{flag} must be {' or '.join(allowed)}, not {value!r}")
