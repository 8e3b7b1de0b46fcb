"""Stage 2 of DyCoke, dynamic KV pruning: each decoding step attends to a selection of tokens.

Source: DyCoke (arXiv 2411.15024), section 3.3. Evicted tokens are kept in the DP cache and can be
recalled at any later step.
"""

from __future__ import annotations

from dycoke_cli.compression.method import tokens_left, top, without_lowest
from dycoke_cli.lazy_torch import F, torch
from dycoke_cli.param import Param

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


class VisualSelector:
    """Selects, step by step, the visual tokens that layers from the prune layer on attend to.

    A new selection is made only when attention changed: when the cosine similarity of this step's
    attention with that of the last selection's step falls below `recall_threshold`.

    Attributes:
        reselections: selections after the first.

    Args:
        prune_ratio: P, the share of the visual tokens that is pruned, in [0, 1).
        recall_threshold: reselect below this similarity; 1 or more reselects at every step.
        recall: whether there is any selection after the first.
    """

    def __init__(
        self,
        prune_ratio: float,
        recall_threshold: float,
        recall: bool = True,
        variant: str = "paper",
    ) -> None:
        self.reselections = 0
        self._prune_ratio, self._recall_threshold = prune_ratio, recall_threshold
        self._recall, self._variant = recall, variant
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
        if self._variant == "published":
            return self._published_step(attention)
        # Compared with the last selection's attention, not the last step's: small changes add up.
        if self._active is None or self._moved(attention):
            self._reference = attention
            self._reselect(without_lowest(attention, self._prune_ratio))
        assert self._active is not None
        return self._active

    def _published_step(self, attention: torch.Tensor) -> torch.Tensor:
        if not self._recall and self._active is not None:
            return self._active
        last = len(attention) - 1
        # The published code excludes the last visual token from scores and selection.
        scored = attention[:last]
        reselect = self._active is None or self._moved(scored)
        self._reference = scored
        if not reselect:
            return torch.arange(len(attention), device=attention.device)
        chosen = top(scored, tokens_left(last, self._prune_ratio))
        return self._reselect(torch.cat([chosen, chosen.new_tensor([last])]))

    def _reselect(self, active: torch.Tensor) -> torch.Tensor:
        # The same tensor is returned as long as the selection stays: the cache and statistics
        # recognize a new selection by identity.
        self.reselections += self._active is not None
        self._active = active
        return active

    def _moved(self, attention: torch.Tensor) -> bool:
        if not self._recall:
            return False
        # Equal vectors can have a similarity of 1 + rounding.
        if self._recall_threshold >= 1:
            return True
        assert self._reference is not None
        similarity = F.cosine_similarity(attention.float(), self._reference.float(), dim=0)
        # This waits for the device: whether the step swaps anything depends on it.
        return bool(similarity < self._recall_threshold)
