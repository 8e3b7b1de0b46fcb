"""A capped KV cache: the language model reads all of a long video, and evicts while it reads.

What each window keeps is prefilled as it comes, behind what is in the cache. Before a chunk would
bring a layer above M visual tokens, a rule of `compression/eviction.py` evicts to three quarters of
M, in each KV head the same number. Rotated keys stay as they are, so survivors keep their
positions; text is never evicted. A question is read behind all that, as behind a prefix that an
earlier question has prefilled (`chunked_prefill`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache
from typing_extensions import override

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.eviction import EVICTIONS, CachedTokens, CacheLimit, Eviction
from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine.chunked_prefill import PrefixCache, can_be_chunked
from dycoke_cli.engine.chunks import CHUNK
from dycoke_cli.engine.encode import Encoded, at_decoder
from dycoke_cli.engine.generation import model_inputs
from dycoke_cli.engine.prefill import positions_at, tokens_to_read
from dycoke_cli.engine.prompt_batch import inject_videos, together
from dycoke_cli.engine.short_prompt import WholePrompt
from dycoke_cli.engine.supported import check_capped
from dycoke_cli.errors import UsageError
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.video_prompt import VideoPrompt
from dycoke_cli.stock.cache_argument import cache_name

TEXT = -1
"""In place of the number of a visual token."""


class CappedPrefix(PrefixCache):
    """What is left in the cache of a video that was read; it stands for every prompt about it.

    Args:
        cache: of all layers, as many tokens in each.
        ids: `[P]`, int64: the tokens of the prompt up to the last visual one.
    """

    def __init__(self, cache: DynamicCache, ids: torch.Tensor) -> None:
        super().__init__()
        self._cache, self._ids = cache, ids

    @override
    def restore(self, key: bytes, cache: Any) -> bool:
        for number, layer in enumerate(self._cache.layers):
            cache.update(layer.keys, layer.values, number)
        return True

    def check(self, ids: torch.Tensor) -> None:
        """Check that a prompt, `[1, S]`, begins as that which was read.

        Raises:
            UsageError: it doesn't.
        """
        if not torch.equal(ids[0, : len(self._ids)], self._ids):
            raise UsageError(
                "the model's chat template writes other text before the video for this question, "
                "and max_cached_tokens has read that already; use --max-tokens"
            )


class CappedPrefill:
    """Prefills what windows keep of a video, with M visual tokens in the cache at most.

    What is no more than M in all waits for the question, as in a pool: nothing is evicted then.

    Attributes:
        seconds: of prefill so far.

    Args:
        loaded: the model.
        method: whose selections are read.
        video: the whole video, without pixels.
        limit: M, and the rule.
        contiguous: whether positions close the gaps of what the method drops.

    Raises:
        UsageError: the model or the method doesn't support it.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        method: BoundMethod,
        video: VideoPrompt,
        limit: CacheLimit,
        *,
        contiguous: bool,
    ) -> None:
        assert limit.max_cached_tokens is not None, "checked by the caller"
        assert limit.evict is not None, "settled by the limit"
        check_capped(loaded.model, method)
        self.seconds = 0.0
        self._model, self._family = loaded.model, loaded.family
        self._contiguous, self._video = contiguous, video
        self._cap, self._rule = limit.max_cached_tokens, EVICTIONS[limit.evict]
        self._most_waiting = min(self._cap, loaded.context_length)
        self._waiting: list[PooledTokens] = []
        self._cache = DynamicCache(config=loaded.model.get_decoder().config)
        self._tokens: list[torch.Tensor] = []  # of each layer: what is in the cache, see `evict`
        self._read: list[torch.Tensor] = []  # the numbers of all tokens that were read
        self._held = 0
        self._end = 0

    def add(self, tokens: PooledTokens) -> None:
        """Read what the next window kept."""
        self._waiting.append(tokens)
        if not self._read and sum(map(len, self._waiting)) <= self._most_waiting:
            return
        started = time.perf_counter()
        if not self._read:
            # Up to the last visual token every question has the same prompt.
            ids = self._video.input_ids("")
            self._whole = WholePrompt.of(self._model, self._family, self._video, ids)
        for waiting in self._waiting:
            for chunk in _chunks(waiting, self._chunk_length):
                self._prefill(chunk)
        # An empty one tells what embeddings are like.
        self._waiting = [_part(tokens, slice(0))]
        self.seconds += time.perf_counter() - started

    @property
    def prefix(self) -> CappedPrefix | None:
        """What is left of the video; None while it all waits."""
        return CappedPrefix(self._cache, self._whole.ids[0, : self._end]) if self._read else None

    def tokens(self) -> PooledTokens:
        """What a question's prompt has of the video: as many tokens as are in the cache.

        Once any were evicted these are stand-ins, whose embeddings are never read: in the cache
        are others, in each KV head.
        """
        tokens = PooledTokens.joined(self._waiting)
        if not self._read:
            return tokens
        # The last one is among them, so that all text that was read is before it.
        kept = torch.cat(self._read).sort().values[-self._held :]
        blank = [
            values.new_zeros(1, values.shape[1]).expand(self._held, -1)
            for values in (tokens.features, *tokens.deepstack)
        ]
        return PooledTokens(kept, blank[0], tuple(blank[1:]))

    @property
    def _chunk_length(self) -> int:
        """Visual tokens of a chunk: whole frames if they fit, which rules compare."""
        length, per_frame = min(self._cap // 4, CHUNK), self._video.tokens_per_frame
        return length - length % per_frame if length > per_frame else length

    @torch.inference_mode()
    def _prefill(self, chunk: PooledTokens) -> None:
        """Read a chunk, and the text before and between its tokens."""
        if self._held + len(chunk) > self._cap:
            self._evict(self._cap - self._cap // 4)
        model, decoder, whole = self._model, self._model.get_decoder(), self._whole
        end = max(self._end, int(whole.layout.index[chunk.kept].max()) + 1)
        stays = torch.zeros_like(whole.ids[0], dtype=torch.bool)
        stays[self._end : end] = True
        at, places = tokens_to_read(stays, whole.layout, chunk.kept)
        evicted = sum(map(len, self._read)) - self._held
        positions, _ = positions_at(
            whole.positions,
            torch.ones_like(whole.ids, dtype=torch.bool),
            at[None] if whole.positions is None else at[None].to(whole.positions.device),
            None,
            contiguous=self._contiguous,
            before=self._cache.get_seq_length() + evicted,
        )
        batch = together([whole.part(at, Encoded(chunk.features, chunk.deepstack))], pad=0)
        ask = partial(model.generate, max_new_tokens=1, do_sample=False)
        with inject_videos(model, batch.videos, batch.placeholders):
            kwargs = at_decoder(model, partial(ask, **model_inputs(model, batch)))
        assert can_be_chunked(decoder, kwargs), "a model that reads its prompt whole"
        attended, device = self._cache.get_seq_length() + len(at), kwargs["inputs_embeds"].device
        kwargs["position_ids"] = positions.to(device)
        kwargs["attention_mask"] = torch.ones(1, attended, dtype=torch.int64, device=device)
        kwargs[cache_name(kwargs)] = self._cache
        decoder(**kwargs)
        numbers = torch.full_like(at, TEXT)
        numbers[places] = chunk.kept
        # All heads of all layers have read it.
        layers = self._cache.layers
        new = [numbers.to(one.keys.device).expand(one.keys.shape[1], -1) for one in layers]
        before = self._tokens or [of_layer[:, :0] for of_layer in new]
        self._tokens = [torch.cat(pair, 1) for pair in zip(before, new, strict=True)]
        self._read.append(chunk.kept)
        self._held, self._end = self._held + len(chunk), end

    def _evict(self, count: int) -> None:
        for number, layer in enumerate(self._cache.layers):
            self._tokens[number] = evict(
                layer, self._tokens[number], self._rule, count, self._video.tokens_per_frame
            )
        self._held = count


def evict(
    layer: Any, tokens: torch.Tensor, rule: Eviction, count: int, per_frame: int
) -> torch.Tensor:
    """Evict visual tokens of a layer of a stock cache.

    Args:
        layer: with `keys` and `values`, `[1, H, E, D]`, which are replaced.
        tokens: `[H, E]`, int64: the number of the visual token that each entry is of, or `TEXT`;
            in each head as many are visual.
        rule: that selects what stays.
        count: visual tokens that stay, for each head.
        per_frame: N.

    Returns:
        `tokens` of what stays, in the same order.
    """
    heads, is_visual = len(tokens), tokens != TEXT
    visual = is_visual.nonzero()[:, 1].view(heads, -1)
    cached = CachedTokens(
        _taken(layer.keys[0], visual),
        _taken(layer.values[0], visual),
        tokens.gather(1, visual),
        per_frame,
    )
    stays = (~is_visual).scatter(1, visual.gather(1, rule(cached, count)), True)
    at = stays.nonzero()[:, 1].view(heads, -1)
    layer.keys, layer.values = _taken(layer.keys[0], at)[None], _taken(layer.values[0], at)[None]
    return tokens.gather(1, at)


def _taken(states: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """Of `[H, E, D]` the entries `[H, n]` of each head."""
    return states.gather(1, at[..., None].expand(-1, -1, states.shape[2]))


def _chunks(tokens: PooledTokens, length: int) -> Iterator[PooledTokens]:
    for start in range(0, len(tokens), length):
        yield _part(tokens, slice(start, start + length))


def _part(tokens: PooledTokens, part: slice) -> PooledTokens:
    deepstack = tuple(layer[part] for layer in tokens.deepstack)
    return PooledTokens(tokens.kept[part], tokens.features[part], deepstack)
