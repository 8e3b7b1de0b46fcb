"""Stage 2 of DyCoke, dynamic KV pruning: each decoding step attends to a selection of tokens.

Source: DyCoke (arXiv 2411.15024), section 3.3. Evicted tokens are kept in the DP cache and can be
recalled at any later step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.compression.base import tokens_left, top, without_lowest
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

KV_PRUNE = Param(
    "Stage 2, dynamic KV-cache pruning: each decoding step attends only to the visual tokens that "
    "matter to it."
)
PRUNE_RATIO = Param(
    "Fraction of the visual tokens that is pruned (not the fraction kept).",
    symbol="P",
    at_least=0,
    below=1,
    switch="kv_prune",
)
PRUNE_LAYER = Param(
    "First pruned layer; the layer before it scores the tokens.",
    symbol="L",
    layer=True,
    default="the paper's 3, unless the model's checkpoint names another (`dycoke models info`)",
    switch="kv_prune",
)
DP_CACHE = Param(
    "Where evicted tokens are stored: device; host (main memory, which frees that of a GPU); "
    "discard (nowhere; implies recall=False).",
    switch="kv_prune",
)
PRUNE_FROM = Param(
    "Prune the KV cache only if at least this many visual tokens remain after stage 1; auto: from "
    "where it was measured to be faster (2,960, or 6,272 with dycoke-plus).",
    at_least=0,
    words={"auto": None},
    default="0, always",
    switch="kv_prune",
    nullable=True,
)


class VisualSelector:
    """Selects, step by step, the visual tokens that layers from the prune layer on attend to.

    A new selection is made only when attention changed: when the cosine similarity of this step's
    attention with that of the last selection's step falls below `recall_threshold`.

    Attributes:
        reselections: selections after the first.
        one_shot: whether the first selection is the only one.

    Args:
        prune_ratio: P, the share of the visual tokens that is pruned, in [0, 1).
        recall_threshold: reselect below this similarity; 1 or more reselects at every step.
    """

    def __init__(
        self,
        prune_ratio: float,
        recall_threshold: float,
        recall: bool = True,
        variant: str = "paper",
    ) -> None:
        self.prune_ratio = prune_ratio
        self.recall_threshold = recall_threshold
        self.one_shot = not recall
        self.variant = variant
        self.reselections = 0
        self._reference: torch.Tensor | None = None
        self._active: torch.Tensor | None = None

    def step(self, attention: torch.Tensor) -> torch.Tensor:
        """Select the visual tokens of this step.

        Args:
            attention: `[V]`, float; the attention of the step's query to each visual token after
                softmax over all keys, averaged over heads.

        Returns:
            `[A]`, int64, ascending: the tokens that are active.
        """
        if self.variant == "published":
            return self._published_step(attention)
        # Compared with the last selection's attention, not the last step's: small changes add up.
        if self._active is None or self._moved(attention):
            self._reference = attention
            self._reselect(without_lowest(attention, self.prune_ratio))
        assert self._active is not None
        return self._active

    def _published_step(self, attention: torch.Tensor) -> torch.Tensor:
        import torch

        if self.one_shot and self._active is not None:
            return self._active
        last = len(attention) - 1
        # The published code excludes the last visual token from scores and selection.
        scored = attention[:last]
        reselect = self._active is None or self._moved(scored)
        self._reference = scored
        if not reselect:
            return torch.arange(len(attention), device=attention.device)
        chosen = top(scored, tokens_left(last, self.prune_ratio))
        return self._reselect(torch.cat([chosen, chosen.new_tensor([last])]))

    def _reselect(self, active: torch.Tensor) -> torch.Tensor:
        # The same tensor is returned as long as the selection stays: the cache and statistics
        # recognize a new selection by identity.
        self.reselections += self._active is not None
        self._active = active
        return active

    def _moved(self, attention: torch.Tensor) -> bool:
        if self.one_shot:
            return False
        if self.recall_threshold >= 1:
            return True
        assert self._reference is not None
        # This waits for the device: whether the step swaps anything depends on it.
        return bool(self._has_moved(attention, self._reference))

    def _has_moved(self, attention: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as F

        similarity = F.cosine_similarity(attention.float(), reference.float(), dim=0)
        # Equal vectors can have a similarity of 1 + rounding.
        least = self.recall_threshold if self.recall_threshold < 1 else float("inf")
        return similarity < least

    def held(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The active tokens `[A]` and the attention `[V]` that they were selected by.

        From then on the tensors are the selector's own, and `step_in_place` changes them. None
        before the first selection, and with the published variant, whose steps attend to different
        numbers of tokens.
        """
        if self.variant == "published" or self._active is None or self._reference is None:
            return None
        self._active, self._reference = self._active.clone(), self._reference.clone()
        return self._active, self._reference

    def step_in_place(self, attention: torch.Tensor) -> torch.Tensor:
        """A step of the paper's variant that never waits for the device, behind `held`.

        Returns:
            `[]`, bool: whether it reselected; `reselections` doesn't count it.
        """
        import torch

        assert self._active is not None
        assert self._reference is not None
        moved = self._has_moved(attention, self._reference)
        chosen = top(attention, len(self._active))
        torch.where(moved, chosen, self._active, out=self._active)
        torch.where(moved, attention, self._reference, out=self._reference)
        return moved
