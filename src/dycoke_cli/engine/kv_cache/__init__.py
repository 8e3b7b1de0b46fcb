"""The KV cache of one `generate()` call: which entries are evicted and which active, in each layer.

A layer is plain (`layer`) or pruned in place (`pruned`); `slots` plans what a new selection swaps.
`roomy` is for calls without a method. Nothing is kept on the model or in a global: two calls never
mix.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers.cache_utils import Cache

from dycoke_cli.engine.kv_cache.layer import KVLayer
from dycoke_cli.engine.kv_cache.pruned import PrunedLayer
from dycoke_cli.engine.kv_cache.slots import Slots, Swaps
from dycoke_cli.errors import UsageError

LAYERS_IN_A_LOOP = (
    "the language model runs its layers in a loop, which methods don't support; --method none works"
)
CLOSED = (
    "this cache is of a prompt that a method shortened, and the method isn't attached any more; "
    "give the whole conversation as one prompt"
)


class KVStore(Cache):
    """A cache whose layers from the prune layer on return active visual tokens only.

    The sequences of a batch end at the same slot. Where they begin at different ones, for they
    have padding in front or different numbers of active tokens, `mask` says which attends to what.

    Attributes:
        paddings: how many tokens of padding each sequence has in front.
        slots: of the visual tokens of each sequence, in pruned layers.

    Args:
        visual: for each sequence `[V]`, int64: where its visual tokens are, padding counted.
        first_pruned: the first layer that hands out active tokens only; None where none does.
        bias: `[B, R]`, float: added to the attention logits of each token; None for nothing. Not
            for layers that hand out active tokens by the selection of another one.
    """

    # of the language model
    layers: list[KVLayer]  # narrower than the base

    def __init__(
        self,
        *,
        layers: int,
        paddings: Sequence[int],
        visual: Sequence[torch.Tensor],
        length: int,
        uncompressed_length: int,
        first_pruned: int | None = None,
        bias: torch.Tensor | None = None,
    ) -> None:
        self.first_pruned = layers if first_pruned is None else first_pruned
        self._length, self._uncompressed_length = length, uncompressed_length
        self.paddings = list(paddings)
        pairs = [*zip(paddings, visual, strict=True)]
        self.slots = [Slots(n, padding, len(places)) for n, (padding, places) in enumerate(pairs)]
        self._active: list[torch.Tensor | None] = [None] * len(self.paddings)
        self._swaps: Swaps | None = None
        self._bias = bias
        # Layers can't tell a prompt's last chunk from a step of one token, so `begin_step` says it.
        self._in_prefill = True
        self._is_closed = False
        order = torch.stack([visual_first(padding, places, length) for padding, places in pairs])
        super().__init__(
            layers=[
                *(KVLayer() for _ in range(self.first_pruned)),
                *(PrunedLayer(order) for _ in range(self.first_pruned, layers)),
            ]
        )

    def expect_chunks(self) -> None:
        """The prompt will come in chunks."""
        for layer in self.layers:
            layer.expected = self._length

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *args: object,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append entries `[B, H, S, D]` to a layer; return what they attend to there."""
        if self._is_closed:
            raise UsageError(CLOSED)
        layer = self.layers[layer_idx]
        # Here, since a layer's update is the only call that stock code makes for each layer.
        if isinstance(layer, PrunedLayer) and not self._in_prefill:
            layer.begin_step(self._swaps, self._start)
        return layer.update(key_states, value_states)

    def close(self) -> None:
        """Take no more: stock code would count positions on from the uncompressed prompt."""
        self._is_closed = True

    def begin_step(self) -> None:
        """Begin a decoding step.

        Layers behind the scoring layer make a selection's swaps in the step in which it is made,
        and all of them are behind it. So none is left from the step before.
        """
        if self._in_prefill and self.layers[0].get_seq_length() != self._length:
            raise UsageError(LAYERS_IN_A_LOOP)
        self._in_prefill = False
        self._swaps = None

    def arrange(self, active: list[torch.Tensor | None]) -> None:
        """Plan the swaps of a step; the layers make them as they are updated.

        Args:
            active: for each sequence the visual tokens `[A]`, int64, that it attends to, the same
                object as at the step before where they are the same; None for a sequence that
                attends to all.
        """
        swaps = [
            slots.arrange(chosen)
            for slots, chosen, before in zip(self.slots, active, self._active, strict=True)
            # By identity: comparing values would wait for the device at every step.
            if chosen is not None and chosen is not before
        ]
        if swaps:
            self._swaps = Swaps.together(swaps)
        self._active = active

    def bias(self, keys: int) -> torch.Tensor | None:
        """What is added to the attention logits of so many keys: `[B, 1, 1, K]`, float, or None."""
        if self._bias is None:
            return None
        # The bias is of R prompt tokens. A chunk has fewer keys, for which `pad` cuts (a negative
        # length); a step has more, and nothing is added to generated tokens.
        return torch.nn.functional.pad(self._bias, (0, keys - self._length))[:, None, None]

    def mask(self, layer_idx: int, key: torch.Tensor) -> torch.Tensor | None:
        """Which of the keys that `update` handed out each sequence attends to in a decoding step.

        Args:
            layer_idx: the layer.
            key: `[B, H, K, D]`.

        Returns:
            `[B, K]`, bool, or None where all sequences attend to all keys.
        """
        pruned = layer_idx >= self.first_pruned
        firsts = [slots.first for slots in self.slots] if pruned else self.paddings
        start = self._start if pruned else 0
        if all(first == start for first in firsts):
            return None
        # Example: two sequences read slots 4 … 9 and 6 … 9. The keys are those of slots 4 … 9, of
        # which the second sequence masks the first two.
        slots = torch.arange(start, start + key.shape[2], device=key.device)
        return slots >= torch.tensor(firsts, device=key.device)[:, None]

    @property
    def _start(self) -> int:
        """The first slot that any sequence reads in a pruned layer."""
        return min(slots.first for slots in self.slots)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen, behind the prompt with the dropped ones: what `generate()` counts by."""
        entries = self.layers[0].get_seq_length()
        # Between the chunks of a prompt stock code makes masks by this number: here that of tokens
        # in the cache.
        if entries < self._length:
            return entries
        # generate() cuts its inputs by this number, and has the uncompressed prompt in them.
        return self._uncompressed_length + entries - self._length

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No maximum."""
        return -1

    @property
    def nbytes(self) -> int:
        """Bytes of all layers, spare entries included."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def active_nbytes(self) -> int:
        """Bytes of the entries that the last step attended to."""
        return sum(layer.active_nbytes for layer in self.layers)


def visual_first(padding: int, visual: torch.Tensor, length: int) -> torch.Tensor:
    """The order in which a pruned layer stores a sequence: padding, visual tokens, text."""
    is_text = torch.ones(length, dtype=torch.bool)
    is_text[:padding] = False
    is_text[visual] = False
    return torch.cat([torch.arange(padding), visual, is_text.nonzero().flatten()])
