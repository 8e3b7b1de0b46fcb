"""Weights that are restored from bytes multiply as those that were packed."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli.kernels import quantize as onednn_bytes
from dycoke_cli.kernels.int8_linear import onednn_works
from dycoke_cli.kernels.quantize import pack, restored, saved

# The second and third aren't multiples of a block.
SHAPES = [(128, 64), (151, 72), (300, 136)]


def weights(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-127, 128, shape, dtype=torch.int8, generator=generator)


def product(packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Of bytes that differ at each input, by oneDNN."""
    tokens = (torch.arange(3 * shape[1]) % 251).view(3, -1).to(torch.uint8)
    ones, zero = torch.ones(shape[0]), torch.zeros(1, dtype=torch.int64)
    found: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        tokens, 1.0, 0, packed, ones, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return found


@pytest.mark.skipif(not onednn_works(), reason="oneDNN has no int8 product here")
@pytest.mark.parametrize("shape", SHAPES)
def test_restored_weights_multiply_as_packed_ones(shape: tuple[int, int]) -> None:
    one, other = weights(shape, 1), weights(shape, 2)
    files = [saved(pack(weight)) for weight in (one, other)]
    # With their memory, which the packed tensors don't own.
    found = [restored(each["packed"], each["layout"], shape) for each in files]
    tokens = (torch.arange(3 * shape[1]) % 251).view(3, -1)
    for weight, (packed, _) in zip((one, other), found, strict=True):
        assert torch.equal(product(packed, shape), (tokens @ weight.long().T).float())


def test_one_layer_of_each_shape_is_packed_to_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(pack(weights((132, 88))))
    first, memory = restored(file["packed"], file["layout"], (132, 88))
    assert memory is None
    monkeypatch.delattr(onednn_bytes, "pack")
    found, memory = restored(file["packed"], file["layout"], (132, 88))
    assert memory is not None
    assert torch.ops.mkldnn.data_ptr(found) == memory.data_ptr()
    assert memory.data_ptr() != file["packed"].data_ptr()  # which is mapped from a file
    for packed in (first, found):
        assert torch.equal(saved(packed)["packed"], file["packed"])


def test_a_torch_without_the_function_packs_zeros_and_copies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shape = SHAPES[1]
    file = saved(pack(weights(shape)))
    monkeypatch.setattr(onednn_bytes, "_LIBRARY", "libabsent.so")
    for _ in range(2):
        found, memory = restored(file["packed"], file["layout"], shape)
        assert memory is None
        assert torch.equal(saved(found)["packed"], file["packed"])
    with pytest.raises(ValueError, match="of another layout"):
        restored(file["packed"][:-1], file["layout"], shape)


@pytest.mark.parametrize("known", [False, True])
def test_a_wrong_layout_never_reaches_onednn(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end the process."""
    shape = SHAPES[0]
    file = saved(pack(weights(shape)))
    monkeypatch.setattr(onednn_bytes, "_layouts", {})
    monkeypatch.delattr(onednn_bytes, "_of_bytes")
    if known:
        restored(file["packed"], file["layout"], shape)
    for byte in range(len(file["layout"])):
        wrong = file["layout"].clone()
        wrong[byte] ^= 1
        with pytest.raises(ValueError, match="of another layout"):
            restored(file["packed"], wrong, shape)
    for wrong in (file["layout"][:0], file["layout"][:-1], torch.zeros_like(file["layout"])):
        with pytest.raises(ValueError, match="of another layout"):
            restored(file["packed"], wrong, shape)


def test_bytes_of_another_layout_are_refused() -> None:
    shape = SHAPES[0]
    file, other = saved(pack(weights(shape))), saved(pack(weights(SHAPES[1])))
    for content, layout in (
        (file["packed"], other["layout"]),
        (file["packed"][:-1], file["layout"]),
        (other["packed"], other["layout"]),
    ):
        with pytest.raises(ValueError, match="of another layout"):
            restored(content, layout, shape)
