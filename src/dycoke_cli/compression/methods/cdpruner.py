"""CDPruner: diverse tokens that are relevant to the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from dycoke_cli.compression.budget import MergingEarly
from dycoke_cli.compression.method import Ablation, Need, Selection, SelectionInputs
from dycoke_cli.compression.similar import wide
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

EXHAUSTED = 1e-6
"""A token that adds no more than this adds nothing but rounding."""
_AHEAD, _NEAR = 64, 256
"""Tokens whose rows of the kernel are made together, and how many they are taken from."""


@dataclass(frozen=True)
class CDPruner(MergingEarly):
    """CDPruner (arXiv 2506.10967, NeurIPS 2025): diversity, conditioned on the question.

    A token's relevance is the mean of its cosine similarities to the embeddings of the question's
    tokens, scaled over all visual tokens to 0 … 1 (to 1 where all are equal). Tokens are chosen
    greedily for the largest determinant of the kernel whose entry for two tokens is their cosine
    similarity times both relevances (a determinantal point process). When no token adds anything
    any more, those of the highest relevance follow. Ties go to the lower index.

    The question is the text behind the video, the end of the prompt's template with it; so each
    question prefills the video, unless its weight is 0. Differs from the authors' code in that: for
    CLIP's visual tokens they compare with CLIP's own encoding of the text, and negate the
    similarities. Comparing with input embeddings is what OpenVINO GenAI does for Qwen-VL, with a
    relevance weight of .5; it chooses in each half of the tokens alone, here it is the whole video.
    The authors keep positions.
    """

    name: ClassVar[str] = "cdpruner"
    title: ClassVar[str] = "CDPruner"
    summary: ClassVar[str] = "diverse tokens relevant to the question"
    paper: ClassVar[str | None] = "arXiv 2506.10967, NeurIPS 2025"
    needs: ClassVar[tuple[Need, ...]] = ("question",)
    ablations: ClassVar[Mapping[str, Ablation]] = {
        "dpp": Ablation("diversity without the question", {"relevance_weight": 0.0})
    }

    relevance_weight: Annotated[
        float,
        Param("Weight of the relevance to the question; 0 is diversity alone.", at_least=0, to=1),
    ] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.relevance_weight:
            object.__setattr__(self, "needs", ())

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens kept of the whole video."""
        directions = F.normalize(wide(inputs.features.flatten(0, 1)), dim=-1)
        relevance = torch.ones_like(directions[:, 0])
        if self.relevance_weight:
            assert inputs.question is not None, "named in needs"
            relevance = self._relevance(directions, inputs.question)
        count = self.kept_tokens(*inputs.features.shape[:2])
        chosen = _greedy(directions, relevance, count)
        is_left = torch.ones_like(relevance, dtype=torch.bool)
        is_left[chosen] = False
        rest = relevance.float().masked_fill(~is_left, -torch.inf)
        rest = rest.argsort(descending=True, stable=True)[: count - len(chosen)]
        kept = torch.cat([torch.tensor(chosen, dtype=torch.int64, device=rest.device), rest])
        return Selection(kept.sort().values)

    def _relevance(self, directions: torch.Tensor, question: torch.Tensor) -> torch.Tensor:
        """Of each visual token, `[V]`, from its direction `[V, D]` and the question `[Q, D]`."""
        if not len(question):
            return torch.ones_like(directions[:, 0])
        # The mean similarity is that to the mean direction.
        alike = directions @ F.normalize(wide(question), dim=-1).mean(0)
        least, most = alike.min(), alike.max()
        scaled = (alike - least) / (most - least) if most - least > EXHAUSTED else alike * 0 + 1
        return 1 - self.relevance_weight + self.relevance_weight * scaled


def _greedy(directions: torch.Tensor, relevance: torch.Tensor, count: int) -> list[int]:
    """Greedy selection for the largest determinant, in the order of selection.

    Args:
        directions: `[V, D]`, of length 1.
        relevance: `[V]`.
        count: how many; fewer where no other adds anything.
    """
    # What each token would multiply the determinant by, and the rows of its Cholesky factor.
    gain = relevance**2
    rows = directions.new_empty(count, len(directions))
    chosen: list[int] = []
    # One row of the kernel costs nearly as much as a block: it is made with those of tokens that
    # will probably be next, all without what had been chosen until then.
    place: dict[int, int] = {}
    block, made = rows[:0], 0
    while len(chosen) < count:
        best = int(gain.float().argmax())
        left = float(gain[best])
        if left <= EXHAUSTED:
            break
        if best not in place:
            made = len(chosen)
            near = gain.float().argsort(descending=True, stable=True)[:_NEAR]
            among = _residual(directions, relevance, rows[:made], near, near)
            ahead = torch.tensor(_likely(among, min(_AHEAD, count - made)))
            likely = near[ahead.to(near.device)]
            place = {token: number for number, token in enumerate(likely.tolist())}
            block = _residual(directions, relevance, rows[:made], likely, slice(None))
        since = rows[made : len(chosen)]
        row = (block[place[best]] - since[:, best] @ since) / left**0.5
        rows[len(chosen)] = row
        chosen.append(best)
        gain -= row**2
        gain[best] = -torch.inf
    return chosen


def _residual(
    directions: torch.Tensor,
    relevance: torch.Tensor,
    rows: torch.Tensor,
    of: torch.Tensor,
    to: torch.Tensor | slice,
) -> torch.Tensor:
    """What is left of entries of the kernel `[len(of), len(to)]`, without what `rows` explain."""
    block = directions[of] @ directions[to].T
    block *= relevance[of, None] * relevance[to]
    block -= rows[:, of].T @ rows[:, to]
    return block


def _likely(kernel: torch.Tensor, count: int) -> list[int]:
    """Greedy selection among a few tokens, of which the first is the next of all.

    Args:
        kernel: `[S, S]`, overwritten.
        count: how many, at least 1.
    """
    chosen: list[int] = []
    is_chosen = torch.zeros(len(kernel), dtype=torch.bool, device=kernel.device)
    for _ in range(min(count, len(kernel))):
        gain = kernel.diagonal().masked_fill(is_chosen, -torch.inf)
        best = int(gain.argmax()) if chosen else 0
        chosen.append(best)
        is_chosen[best] = True
        row = kernel[best].clone()
        if row[best] > EXHAUSTED:
            kernel.addr_(row, row, alpha=-1 / float(row[best]))
    return chosen
