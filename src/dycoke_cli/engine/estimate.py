"""How much memory an answer will take: arithmetic on a few sizes, without torch.

What is left out (norms, masks, rotary tables, fragmentation) is what `MARGIN` is for.
"""

from __future__ import annotations

from dataclasses import dataclass

MARGIN = 1.05
# What CUDA and its libraries take of a GPU before anything is computed.
CUDA_CONTEXT = 600_000_000
# Of one row, at the widest point of an MLP: gate, up, and their product.
MLP_ROWS = 3
# Around it: the residual, its norm, query, attention, and what is left of the layer before.
HIDDEN_ROWS = 6
# Of one patch, in the widest vision layer: the residual, its norm, query, key, value, output, and
# the layer that is handed on; and the two sides of its MLP.
VISION_HIDDEN_ROWS, VISION_MLP_ROWS = 7, 2
# Of the last row's logits: in the dtype of the weights, in float32, and softened.
LOGITS_BYTES = 3 * 4


@dataclass(frozen=True)
class Sizes:
    """Of a model.

    Args:
        weights: bytes.
        number: bytes of a number of its dtype.
        layers: of the language model.
        hidden: width of its rows.
        mlp: width of the middle of its MLPs.
        kv: numbers in the keys and values of one token in one layer.
        vocabulary: tokens it knows.
        vision_hidden: width of the rows of the vision tower.
        vision_mlp: width of the middle of its MLPs.
        stacked: more rows a visual token, which are added inside the language model (DeepStack).
    """

    weights: int
    number: int
    layers: int
    hidden: int
    mlp: int
    kv: int
    vocabulary: int
    vision_hidden: int
    vision_mlp: int
    stacked: int = 0


@dataclass(frozen=True)
class Work:
    """Of a question.

    Args:
        visual: visual tokens before anything is dropped.
        kept: visual tokens that the language model reads.
        text: other tokens of the prompt.
        at_once: rows of the prompt that go through a layer together.
        spare: rows that the cache has in store for what is written.
        patches: that go through the vision tower together.
    """

    visual: int
    kept: int
    text: int
    at_once: int
    spare: int
    patches: int


@dataclass(frozen=True)
class Estimate:
    """Bytes.

    Args:
        weights: of the model.
        kv: of keys and values, once the prompt is read.
        vision: at the peak of encoding.
        prefill: at the peak of reading the prompt, keys and values included.
    """

    weights: int
    kv: int
    vision: int
    prefill: int

    @property
    def working(self) -> int:
        """Everything but the weights, at the peak."""
        return max(self.vision, self.prefill)

    def total(self, context: int = 0) -> int:
        """Weights and all, with a margin, behind what the device takes for itself."""
        return int((self.weights + self.working) * MARGIN) + context


def estimate(sizes: Sizes, work: Work) -> Estimate:
    """What an answer takes."""
    read, row = work.kept + work.text, sizes.hidden * sizes.number
    features = (1 + sizes.stacked) * work.visual * row
    patch = VISION_HIDDEN_ROWS * sizes.vision_hidden + VISION_MLP_ROWS * sizes.vision_mlp
    kv = sizes.layers * sizes.kv * sizes.number * (read + work.spare)
    layer = work.at_once * (MLP_ROWS * sizes.mlp + HIDDEN_ROWS * sizes.hidden) * sizes.number
    # The prompt stands there whole before anything is dropped from it.
    prompt = (work.visual + work.text) * row
    return Estimate(
        weights=sizes.weights,
        kv=kv,
        vision=features + work.patches * patch * sizes.number,
        prefill=features + prompt + layer + kv + LOGITS_BYTES * sizes.vocabulary,
    )
