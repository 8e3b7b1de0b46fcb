"""Similarities of visual tokens that tie exactly where tokens are equal."""

from __future__ import annotations

from dycoke_cli.lazy_torch import F, torch

ROWS = 1024
"""Tokens that are compared with all others at once: more would take memory."""


def wide(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens in the widest dtype that their device has: float64, or float32 on Apple's GPUs.

    What is computed in it and then rounded to float32 ties exactly where it should (static footage
    is full of equal pairs, whose similarities come out as 1 or 0.9999999 by chance in float32),
    and the lower index wins.
    """
    return tokens.to(torch.float32 if tokens.device.type == "mps" else torch.float64)


def cosine_similarity(
    tokens: torch.Tensor, others: torch.Tensor, eps: float = 1e-8
) -> torch.Tensor:
    """Cosine similarity of tokens with others, along the last dimension.

    Args:
        tokens: `[..., D]`, float.
        others: the same, or a shape that fits it.
        eps: the least norm that a token is divided by.

    Returns:
        `[...]`, float32.
    """
    return F.cosine_similarity(wide(tokens), wide(others), dim=-1, eps=eps).float()


def similarity_to_frame_before(features: torch.Tensor) -> torch.Tensor:
    """Of each token to that at the same position in the frame before.

    Args:
        features: `[F, N, D]`, float.

    Returns:
        `[F - 1, N]`, float32: of all frames but the first.
    """
    frames, per_frame = features.shape[:2]
    similarity = torch.empty(frames - 1, per_frame, device=features.device)
    for frame in range(1, frames):  # copies of all frames in float64 would be large
        similarity[frame - 1] = cosine_similarity(features[frame], features[frame - 1])
    return similarity
