"""What might make coverage better, as a plug-in: variants of stage 1 of `dycoke-plus`.

Asked of a model with more tokens per frame, on its validation split (docs/results.md):

    DYCOKE_PLUGINS=benchmarks/coverage_leads.py python -m benchmarks.methods \
        --model runs/tokens-64/checkpoint --name tokens-64 --tables leads
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from dycoke_cli.compression.budget import Budgeted, shares
from dycoke_cli.compression.coverage import (
    DISTANCE_STEP,
    LEAST_SPREAD,
    SIMILARITY_STEP,
    WINDOW,
    frame_of_each,
    owners,
)
from dycoke_cli.compression.methods.flashvid import FlashVID, diverse
from dycoke_cli.compression.segments import segments_at_cuts
from dycoke_cli.compression.selection import Need, Selection, SelectionInputs
from dycoke_cli.compression.similarity import wide
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Lead(Budgeted):
    """Coverage with one thing changed; as it is, it keeps and merges what `dycoke-plus` does."""

    name: ClassVar[str] = "lead"
    title: ClassVar[str] = "Lead"
    summary: ClassVar[str] = "coverage with one thing changed"
    needs: ClassVar[tuple[Need, ...]] = ("attention",)

    windows: Annotated[
        Literal["frames", "segments"],
        Param("Windows of eight frames, or FlashVID's segments of frames that are alike."),
    ] = "frames"
    diverse: Annotated[
        float,
        Param(
            "Fraction of the kept tokens that FlashVID's attention and diversity choose; coverage "
            "chooses the others for what these leave uncovered.",
            at_least=0,
            below=1,
        ),
    ] = 0.0
    demand: Annotated[
        Literal["equal", "attention"],
        Param(
            "Whether each token's coverage counts alike, or as the vision encoder attends to it."
        ),
    ] = "equal"
    merging: Annotated[
        Literal["mean", "time"],
        Param("Mean of the merged tokens, or with weights exp(-frames between / 2)."),
    ] = "mean"
    keys_of: Annotated[
        str,
        Param("A checkpoint whose first layer's keys are compared in place of the embeddings."),
    ] = ""

    def choose(self, given: SelectionInputs) -> Selection:
        """The tokens with the best coverage, and the others merged into them."""
        import torch

        assert given.attention is not None, "asked for"
        tokens, frame = given.features.flatten(0, 1), frame_of_each(given.features)
        count = self.kept_tokens(*given.features.shape[:2])
        looked = _first_keys(Path(self.keys_of), tokens) if self.keys_of else tokens
        alike = _alike(looked, frame, self._ends(given.features))
        equal = self.demand == "equal"
        weights = torch.ones_like(frame) if equal else given.attention.flatten()
        first = self._diverse(given, int(self.diverse * count))
        kept = _most_covering(alike, weights / weights.double().mean(), first, count)
        into = torch.cat([*owners(alike, kept)])
        between = (frame - frame[into]).abs()
        parts = torch.ones(len(tokens)) if self.merging == "mean" else (-between / 2).exp()
        belongs = (into == kept[:, None]) * parts
        merged = belongs @ tokens.float() / belongs.sum(1, keepdim=True)
        return Selection(kept, merged, into)

    def _ends(self, features: torch.Tensor) -> list[int]:
        """The frame behind the last of each window."""
        if self.windows == "frames":
            return [*range(WINDOW, len(features), WINDOW), len(features)]
        return [end for _, end in _segments(features)]

    def _diverse(self, given: SelectionInputs, count: int) -> list[int]:
        """As many tokens by FlashVID's rule, in equal shares of the frames."""
        import torch

        assert given.attention is not None
        found: list[int] = []
        features, per_frame = given.features, given.features.shape[1]
        counts = shares(count, len(features))
        for begin, end in _segments(features):
            centers = torch.stack([wide(one).mean(0) for one in features[begin:end]]).mean(0)
            for one in range(begin, end):
                frame = wide(features[one])
                weights = wide(given.attention[one]) * (frame @ centers)
                places = diverse(frame, weights, counts[one])
                found += (one * per_frame + places).tolist()
        return found


METHODS = {"lead": Lead}
LEADS = (
    "windows=segments",
    "diverse=0.5",
    "demand=attention",
    "merging=time",
    "keys_of=runs/tokens-64/checkpoint",
)
"""What is changed in each row of the table."""


def _segments(features: torch.Tensor) -> list[tuple[int, int]]:
    """FlashVID's, at its defaults."""
    return segments_at_cuts(features, FlashVID.segment_threshold, FlashVID.min_segments)


def _alike(tokens: torch.Tensor, frames: torch.Tensor, ends: list[int]) -> list[torch.Tensor]:
    """As `coverage.similarities`, in windows of any length."""
    import torch

    units = torch.nn.functional.normalize(tokens.float(), dim=-1)
    center = units.mean(0)
    spread = (1 - center @ center).clamp_min(LEAST_SPREAD)
    found = []
    for begin, end in zip([0, *ends], ends, strict=False):
        here = (frames >= begin) & (frames < end)
        cosines, time = units[here] @ units[here].T, frames[here].float()
        apart = (1 - (cosines + cosines.T) / 2) / (spread * DISTANCE_STEP)
        apart = apart.round().clamp_min(0) * DISTANCE_STEP
        alike = (-apart - (time[:, None] - time).abs() / WINDOW).exp()
        found.append((alike / SIMILARITY_STEP).round() * SIMILARITY_STEP)
    return found


def _most_covering(
    alike: list[torch.Tensor], weights: torch.Tensor, first: list[int], count: int
) -> torch.Tensor:
    """As `coverage.most_covering`, ascending, with weights and some tokens chosen before."""
    import torch

    lengths = [len(matrix) for matrix in alike]
    firsts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    demands = weights.split(lengths)
    covered = [torch.zeros(length) for length in lengths]
    chosen = list(first)

    def add(number: int, place: int) -> None:
        covered[number] = covered[number].maximum(alike[number][place])

    def gains(number: int) -> tuple[float, int]:
        more = (alike[number] - covered[number][:, None]).clamp_min(0).double()
        of_window = (more * demands[number][:, None]).sum(0)
        taken = [one - firsts[number] for one in chosen if 0 <= one - firsts[number] < len(more)]
        of_window[taken] = -1.0
        most, at = of_window.max(0)
        return most.item(), int(at)

    for one in first:
        number = next(n for n, begin in enumerate(firsts[1:]) if one < begin)
        add(number, one - firsts[number])
    best = [gains(number) for number in range(len(alike))]
    while len(chosen) < count:
        number = max(range(len(best)), key=lambda n: best[n][0])
        place = best[number][1]
        chosen.append(firsts[number] + place)
        add(number, place)
        best[number] = gains(number)
    return torch.tensor(sorted(chosen))


def _first_keys(checkpoint: Path, tokens: torch.Tensor) -> torch.Tensor:
    """The keys of the first layer of a model shaped like the bundled one, before rotation."""
    import torch
    from safetensors import safe_open

    layer = "language_model.model.layers.0"
    with safe_open(checkpoint / "model.safetensors", "pt") as weights:
        norm, project, shift = (
            weights.get_tensor(f"{layer}.{name}").float()
            for name in (
                "input_layernorm.weight", "self_attn.k_proj.weight", "self_attn.k_proj.bias",
            )
        )  # fmt: skip
    normal = torch.nn.functional.rms_norm(tokens.float(), norm.shape, norm, 1e-6)
    return normal @ project.T + shift
