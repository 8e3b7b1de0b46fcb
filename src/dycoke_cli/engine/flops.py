""" "Paper FLOPs": the formula by which the field compares methods.

Source: DyCoke (arXiv 2411.15024), section 3.4, after FastV (arXiv 2403.06764). It ignores grouped
KV heads and the third matrix of gated MLPs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def prefill_flops(tokens: int, *, layers: int, hidden: int, mlp: int) -> float:
    """Of reading a prompt: layers · (4nd² + 2n²d + 2ndm)."""
    return layers * (4 * tokens * hidden**2 + 2 * tokens**2 * hidden + 2 * tokens * hidden * mlp)


def decode_flops(
    generated: int, tokens_by_layer: Sequence[float], *, hidden: int, mlp: int
) -> float:
    """Of writing R tokens: Σ over layers of R·((4d² + 2dm) + 2(dn + d(R+1)/2)).

    Args:
        generated: R.
        tokens_by_layer: n of each layer: prompt tokens that a step attends to there.
        hidden: d.
        mlp: m.
    """
    own = 4 * hidden**2 + 2 * hidden * mlp + hidden * (generated + 1)
    return generated * sum(own + 2 * hidden * tokens for tokens in tokens_by_layer)


def paper_flops(
    config: Any,
    *,
    text: int,
    visual: int,
    visual_kept: int,
    visual_active: float,
    prune_layer: int,
    generated: int,
) -> dict[str, float]:
    """The three figures that are reported.

    Args:
        config: of the language model.
        text: tokens of the prompt that aren't visual.
        visual: visual tokens before the method.
        visual_kept: visual tokens that the language model read.
        visual_active: visual tokens that a step attended to from `prune_layer` on, on average.
        prune_layer: the number of layers without decode pruning below.
        generated: tokens written.

    Returns:
        `prefill`, `decode`, and `uncompressed` (both, with nothing dropped).
    """
    layers, hidden, mlp = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    below = [text + visual_kept] * min(prune_layer, layers)
    above = [text + visual_active] * (layers - len(below))
    whole = prefill_flops(text + visual, layers=layers, hidden=hidden, mlp=mlp) + decode_flops(
        generated, [text + visual] * layers, hidden=hidden, mlp=mlp
    )
    return {
        "prefill": prefill_flops(text + visual_kept, layers=layers, hidden=hidden, mlp=mlp),
        "decode": decode_flops(generated, below + above, hidden=hidden, mlp=mlp),
        "uncompressed": whole,
    }
