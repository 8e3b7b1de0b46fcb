""" "Paper FLOPs": the formula by which the field compares methods.

Source: DyCoke (arXiv 2411.15024), section 3.4, after FastV (arXiv 2403.06764). It ignores grouped
KV heads and the third matrix of gated MLPs.
"""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.answer.answer import Flops
from dycoke_cli.compression.method import Method, attended_by_layer, read_by_layer
from dycoke_cli.models.prompts.frame_tokens import ClipTokens


def prefill_flops(tokens_by_layer: Sequence[int], *, hidden: int, mlp: int) -> float:
    """Prefill: Σ over layers of 4nd² + 2n²d + 2ndm."""
    return sum(
        4 * n * hidden**2 + 2 * n**2 * hidden + 2 * n * hidden * mlp for n in tokens_by_layer
    )


def decode_flops(
    generated: int, tokens_by_layer: Sequence[float], *, hidden: int, mlp: int
) -> float:
    """Decode of R tokens: Σ over layers of R·((4d² + 2dm) + 2(dn + d(R+1)/2))."""
    per_token = 4 * hidden**2 + 2 * hidden * mlp + hidden * (generated + 1)
    return generated * sum(per_token + 2 * hidden * tokens for tokens in tokens_by_layer)


def expected_flops(
    method: Method,
    clip: ClipTokens,
    *,
    text: int,
    generated: int,
    layers: int,
    hidden: int,
    mlp: int,
    kept: int | None = None,
) -> Flops:
    """FLOPs of an answer about a clip that isn't encoded yet.

    Args:
        text: tokens of the prompt that aren't visual; 0 as in the paper.
        kept: visual tokens that are read; None for those that the method keeps.
    """
    kept = method.kept_tokens(clip.frames, clip.per_frame) if kept is None else kept
    return paper_flops(
        hidden=hidden,
        mlp=mlp,
        text=text,
        visual=clip.visual,
        read=read_by_layer(method, kept, layers),
        attended=attended_by_layer(method, kept, layers),
        generated=generated,
        reads_before=method.reads_before,
    )


def paper_flops(
    *,
    hidden: int,
    mlp: int,
    text: int,
    visual: int,
    read: Sequence[int],
    attended: Sequence[float],
    generated: int,
    reads_before: bool = False,
) -> Flops:
    """The three figures that are reported.

    Args:
        text: tokens of the prompt that aren't visual.
        visual: tokens of the video before anything is dropped.
        read: visual tokens of the prompt that each layer reads.
        attended: visual tokens that each layer attends to in a decoding step.
        reads_before: whether the whole prompt is read once more, before the selection.
    """
    whole = [text + visual] * len(read)
    before = whole if reads_before else []
    return Flops(
        prefill=prefill_flops([*before, *(text + count for count in read)], hidden=hidden, mlp=mlp),
        decode=decode_flops(
            generated, [text + count for count in attended], hidden=hidden, mlp=mlp
        ),
        uncompressed=prefill_flops(whole, hidden=hidden, mlp=mlp)
        + decode_flops(generated, whole, hidden=hidden, mlp=mlp),
    )
