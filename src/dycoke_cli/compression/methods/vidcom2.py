"""VidCom2: the tokens that stand out in their frame and in the video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.method import Selection, SelectionInputs, top
from dycoke_cli.compression.similar import wide
from dycoke_cli.lazy_torch import F, torch

BANDWIDTHS = (1 / 8, 1 / 4, 1 / 2, 1, 2)
"""α of the Gaussian kernels that are added up."""

TEMPERATURE = 0.01
"""Of the softmax that shares the budget out among frames."""


@dataclass(frozen=True)
class VidCom2(MergingEarly):
    """Video Compression Commander (arXiv 2505.14454, EMNLP 2025), with vLLM's exact budget.

    Tokens are compared in half of their channels, those that vary least over the video, and
    L2-normalised there. A token's redundancy is its similarity to the mean token of its frame plus
    that to the mean token of the video, each the sum over α of exp(-distance² / 2α). Frame f keeps
    the `round(N * min(1, R * (1 + p_f - mean p)))` least redundant of its tokens, 1 at least, where
    p is a softmax over frames of minus the mean similarity to the video. Then the kept tokens that
    are most redundant go, or the dropped ones that are least redundant come back, until exactly the
    budget stays, and no fewer tokens than frames. Ties go to the lower index.

    A video in windows is compared with the mean of all frames so far, as in STC (arXiv 2512.00891),
    in the channels of the first window; each window has its own budget.

    The softmax has so low a temperature that often one frame has p ≈ 1, and keeps up to twice the
    share of the others: that is how it was published.

    Differs from the authors' code (`token_compressor/vidcom2`), whose counts come out near the
    budget, in the reconciliation, which is vLLM's (`vllm/multimodal/video_prune/vidcom2.py`) and
    may take a frame's last token; from both in computing in float64, not in the model's dtype. Of
    300 random videos in float64, vLLM's function (commit 0f17ee0) kept the same tokens of 288, and
    one fewer of 12, where it rounds 1 - (1 - R) down. The authors renumber positions where a model
    counts tokens; vLLM keeps Qwen-VL's. For LLaVA-Video theirs keeps every newline token of a
    frame's grid.
    """

    name: ClassVar[str] = "vidcom2"
    title: ClassVar[str] = "VidCom2"
    summary: ClassVar[str] = "tokens unlike the mean of frame and video"
    paper: ClassVar[str | None] = "arXiv 2505.14454, EMNLP 2025"
    windowed: ClassVar[bool] = True

    def choose(self, inputs: SelectionInputs) -> Selection:
        """Of a window, by what is known of the video up to its end; see `Method.choose`."""
        so_far = inputs.so_far or self.so_far(inputs.features)
        return Selection(self._selected(inputs.features, so_far))

    def select(self, features: torch.Tensor) -> torch.Tensor:
        """Flat indices `[M]`, int64, ascending, of the tokens kept of `features[F, N, D]`."""
        return self._selected(features, self.so_far(features))

    def so_far(
        self, features: torch.Tensor, before: tuple[torch.Tensor, ...] = ()
    ) -> tuple[torch.Tensor, ...]:
        """Channels `[C]`, int64; mean token in them `[C]`, float64; number of frames `[]`, int64.

        Args: as of `Method.so_far`.
        """
        steady = before[0] if before else _steady(features)
        mean = torch.stack([_tokens(frame, steady).mean(0) for frame in features]).mean(0)
        frames = len(features)
        if before:
            _, earlier, count = before
            frames += int(count)
            mean = earlier + (mean - earlier) * (len(features) / frames)
        return steady, mean, torch.tensor(frames)

    def _selected(self, features: torch.Tensor, so_far: tuple[torch.Tensor, ...]) -> torch.Tensor:
        per_frame = features.shape[1]
        steady, video, _ = so_far
        to_video, redundancy = _redundancy(features, steady, video)
        chances = (-to_video / TEMPERATURE).softmax(0)
        scales = (self.retain * (1 + chances - chances.mean())).clamp(max=1)
        # In float32 halves are the same halves for equal frames, and are rounded alike.
        counts = (scales * per_frame).float().round().long().clamp(min=1)
        kept = torch.zeros_like(redundancy, dtype=torch.bool)
        for frame, count in enumerate(counts.tolist()):
            kept[frame, top(-redundancy[frame], count)] = True
        # What frames keep comes first, by rising redundancy, and then what they don't.
        order = redundancy.flatten().argsort(stable=True)
        order = order[(~kept.flatten()[order]).int().argsort(stable=True)]
        return order[: self.kept_tokens(*features.shape[:2])].sort().values

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly, and no less than one token per frame."""
        return max(frames, super().kept_tokens(frames, per_frame))


def _steady(features: torch.Tensor) -> torch.Tensor:
    """The half of the channels that vary least: `[C]`, int64, C = D // 2, 1 at least."""

    # A frame at a time, for all of a long video in float64 takes gigabytes.
    def mean_of(over_frame: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return torch.stack([over_frame(wide(frame)).mean(0) for frame in features]).mean(0)

    mean = mean_of(lambda frame: frame)
    variance = mean_of(lambda frame: (frame - mean) ** 2)
    return variance.float().argsort(stable=True)[: max(1, len(mean) // 2)]


def _tokens(frame: torch.Tensor, steady: torch.Tensor) -> torch.Tensor:
    """Tokens of a frame as they are compared: `[N, C]`, float64."""
    return F.normalize(wide(frame[:, steady]), dim=-1)


def _redundancy(
    features: torch.Tensor, steady: torch.Tensor, video: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean similarity of each frame to the video, `[F]`, and redundancy of each token, `[F, N]`."""
    to_video, to_frame = [], []
    for frame in features:
        tokens = _tokens(frame, steady)
        to_video.append(_similarity(tokens, video))
        to_frame.append(_similarity(tokens, tokens.mean(0)))
    of_video = torch.stack(to_video)
    return of_video.mean(1), (of_video + torch.stack(to_frame)).float()


def _similarity(tokens: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    """Gaussian similarity of `tokens[N, C]` to `center[C]`, `[N]`."""
    distances = ((tokens - center) ** 2).sum(-1)
    return torch.stack([(-distances / (2 * alpha)).exp() for alpha in BANDWIDTHS]).sum(0)
