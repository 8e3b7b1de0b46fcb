"""Stage 1 of DyCoke, temporal token merging: drop tokens that repeat an earlier frame.

Source: DyCoke (arXiv 2411.15024), section 3.2. "Merged" means dropped, as in the published code:
the neighbour's token represents both.
"""

from __future__ import annotations

from collections.abc import Iterator

from dycoke_cli.compression.method import tokens_left
from dycoke_cli.compression.similar import cosine_similarity
from dycoke_cli.errors import UsageError
from dycoke_cli.lazy_torch import torch

PUBLISHED_WINDOW = 4


def keep_indices(
    features: torch.Tensor, merge_ratio: float, window: int = 4, variant: str = "paper"
) -> torch.Tensor:
    """Select the tokens that are kept.

    In each window of consecutive frames, an odd frame is compared with the even one before it,
    and every other even frame with the first of the window. Of a compared frame the
    `int((1 - merge_ratio) * N)` tokens stay that are least like the token at the same position in
    the frame they were compared with (cosine similarity; among equals the lower position stays).

    Args:
        features: `[F, N, D]`, float; the visual tokens as the language model would read them.
        merge_ratio: K, the share of a compared frame that is dropped, in [0, 1).
        window: frames per window; the last one may be shorter.
        variant: "paper", or "published" for the published code with its quirks: no comparison
            with the first frame in the last window of a multiple of 4 frames, an odd trailing
            frame dropped whole, the tokens of a compared frame in order of rising similarity.
            That code is commit dd74634 of github.com/KD-TAO/DyCoke (`dycole_ttm`).

    Returns:
        `[M]`, int64: flat indices `frame*N + position` in the order of the sequence.

    Raises:
        UsageError: (a ValueError) the published variant with 4 frames or fewer.
    """
    frames, per_frame = features.shape[:2]
    kept = tokens_left(per_frame, merge_ratio)
    # Example, a window of 4: frame 0 stays whole; 1 is compared with 0, 2 with 0, and 3 with 2.
    whole = torch.arange(per_frame, device=features.device)
    chosen = []
    for frame, reference in comparisons(frames, window, variant):
        if reference is None:
            positions = whole
        else:
            similarity = cosine_similarity(features[frame], features[reference])
            # The least similar ones, in order of similarity. The language model reads them in the
            # order of their positions, except in the published code.
            positions = similarity.argsort(stable=True)[:kept]
            if variant == "paper":
                positions = positions.sort().values
        chosen.append(frame * per_frame + positions)
    return torch.cat(chosen)


def kept_tokens(
    frames: int, per_frame: int, merge_ratio: float, window: int = 4, variant: str = "paper"
) -> int:
    """How many tokens `keep_indices` keeps of `frames` frames with `per_frame` tokens each."""
    kept = tokens_left(per_frame, merge_ratio)
    return sum(
        per_frame if reference is None else kept
        for _, reference in comparisons(frames, window, variant)
    )


def merged_into(
    kept: torch.Tensor, frames: int, per_frame: int, window: int = 4, variant: str = "paper"
) -> torch.Tensor:
    """For each token the kept one that represents it: that at its position in an earlier frame.

    Args:
        kept: `[M]`, int64: of `keep_indices`.
        frames: F.
        per_frame: N.
        window: as of `keep_indices`.
        variant: likewise.

    Returns:
        `[F*N]`, int64; -1 in a frame that the published code drops whole.
    """
    is_kept = torch.zeros(frames * per_frame, dtype=torch.bool)
    is_kept[kept.cpu()] = True
    is_kept = is_kept.view(frames, per_frame)
    into = torch.arange(frames * per_frame).view(frames, per_frame)
    into[~is_kept] = -1
    for frame, reference in comparisons(frames, window, variant):
        if reference is not None:
            # What it was compared with may have been dropped for an even earlier one.
            into[frame] = torch.where(is_kept[frame], into[frame], into[reference])
    return into.flatten()


def comparisons(frames: int, window: int, variant: str) -> Iterator[tuple[int, int | None]]:
    """Yield (frame, the frame it is compared with, or None to keep it whole), in reading order."""
    if variant == "published":
        if frames <= PUBLISHED_WINDOW:
            raise UsageError(
                f"the published variant needs more than {PUBLISHED_WINDOW} frames, not {frames}; "
                "the paper variant works from 1 frame on"
            )
        yield from _published_comparisons(frames)
        return
    for frame in range(frames):
        offset = frame % window
        if offset == 0:
            yield frame, None
        elif offset % 2:
            yield frame, frame - 1
        else:
            yield frame, frame - offset


def _published_comparisons(frames: int) -> Iterator[tuple[int, int | None]]:
    # The published loops: pairs over an even number of frames, and the middle frame of each
    # window that starts before frames - 4.
    compared_middles = {start + 2 for start in range(0, frames - 4, 4)}
    for frame in range(frames - frames % 2):
        if frame % 2:
            yield frame, frame - 1
        else:
            yield frame, frame - 2 if frame in compared_middles else None
