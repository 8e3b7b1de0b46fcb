"""Attaches a method to a stock model by public hooks, and restores the model afterwards.

A forward pre-hook on the model notes where the visual tokens are; one on the text decoder drops
the tokens that the method doesn't keep and puts a `KVStore` in the place of the call's empty cache;
one on each decoder layer behind in-LLM token pruning drops tokens there. Like
`torch.no_grad()`, an attachment holds for the thread that entered it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.call import CALL_ARGUMENT, Call
from dycoke_cli.engine.chunked_prefill import ChunkedPrefill, PrefixCache, length_up_to
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.flat_decode import can_be_flat, flat_or_stock, without_method
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.model_inputs import ModelInputs, take
from dycoke_cli.engine.prefill import shorten
from dycoke_cli.engine.prompt_batch import Shortened
from dycoke_cli.engine.scoring_attention import AttentionSwitch, scoring_attention
from dycoke_cli.engine.selecting import Prompts, kept_of_each, select
from dycoke_cli.engine.supported import (
    check_cache,
    check_decode_step,
    check_decoder,
    check_mask,
    check_prefill,
    makes_own_masks,
)
from dycoke_cli.engine.thread_hook import Arguments, before_forward
from dycoke_cli.engine.token_tree import TokenTree
from dycoke_cli.engine.trace import DecodeStats, Recorder
from dycoke_cli.engine.vision_tower.merged_frames import FramesInTower
from dycoke_cli.engine.vision_tower.tower_attention import TowerRecorder
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import Layout, family_of
from dycoke_cli.models.traits import traits_of
from dycoke_cli.stock.private_api import CACHE_ARGUMENT, attention_implementation, cache_of


def attach(
    model: Any,
    method: Method | BoundMethod,
    *,
    trace: int | None = None,
    prefix: PrefixCache | None = None,
    videos: Sequence[Sequence[Encoded]] = (),
    flat: bool = True,
    frames: int | None = None,
    shortened: Shortened | None = None,
) -> Attachment:
    """Make the context manager that applies `method` to `model`'s `generate()` calls.

    Args:
        method: its selections are made for each sequence of a batch alone; it is bound to the
            model here unless it is already.
        trace: the layer whose attention is recorded, of the first sequence, with what is active;
            see `trace.traced_layer`. None records nothing.
    """
    if not (hasattr(model, "get_decoder") and hasattr(model, "config")):
        raise UsageError(
            f"a method attaches to a transformers model that answers about videos, and not to a "
            f"{type(model).__name__}; of a loaded model, give its attribute model: load(…).model"
        )
    why_not = family_of(model.config).only_none
    if why_not:
        raise UsageError(
            f"no method can be attached to a model of the family {model.config.model_type!r}: "
            f"{why_not}; --method none works"
        )
    method = bind(method, traits_of(model.config))
    # Without `videos` generate() encodes them. Hooks can merge whole frames there; patches are
    # dropped, and frames scaled, by `encode_video` alone.
    check_decoder(model.get_decoder(), method)
    if method.before_vision is not None and not videos:
        raise UsageError(
            "merge_stage vision is for a VideoSession, which encodes the video itself; use llm here"
        )
    if method.shrink is not None and not videos:
        raise UsageError(
            f"the method {method.name} is for a VideoSession, which encodes the video itself; here "
            "scale the frames that the processor is given"
        )
    return Attachment(model, method, trace, prefix, videos, flat, frames, shortened)


class Attachment:
    """A method on a model, for the length of a `with` block in the thread that entered it.

    Attributes:
        stats: counts of the newest `generate()` call, for each sequence of its batch; empty before
            the first call.
        kept: which visual tokens each of them kept, `[M]`, int64.
        recorder: what that call attended to, or None where it isn't recorded.
    """

    def __init__(
        self,
        model: Any,
        method: BoundMethod,
        trace: int | None,
        prefix: PrefixCache | None,
        videos: Sequence[Sequence[Encoded]],
        flat: bool,
        frames: int | None,
        shortened: Shortened | None,
    ) -> None:
        self.stats: list[DecodeStats] = []
        self.kept: list[torch.Tensor] = []
        self.recorder: Recorder | None = None
        self._model = model
        self._decoder = model.get_decoder()
        self._method = method
        self._trace = trace
        self._videos = videos
        self._flat, self._shown_frames = flat, frames
        self._shortened = shortened
        # Videos that were encoded before bring their attention and merged frames along.
        records = "attention" in method.needs and not videos
        self._tower = TowerRecorder(model) if records else None
        merging = None if videos else method.merge_frames
        self._frames = None if merging is None else FramesInTower(model, merging)
        self._recording = ExitStack()
        self._inputs: ModelInputs | None = None
        self._chunks = ChunkedPrefill(prefix)
        # By cache, for that is what stock code hands back at each step of a call. Weakly: when
        # generate() drops the cache, the call is over.
        self._calls: WeakKeyDictionary[Any, Call] = WeakKeyDictionary()
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Attachment:
        _switch.enter(self._decoder)
        # The tower runs before the decoder within one forward of the model, so what it records and
        # merges is there when the hook before the decoder asks for it.
        if self._tower is not None:
            self._recording.enter_context(self._tower)
        if self._frames is not None:
            self._recording.enter_context(self._frames)
        self._hooks = [
            before_forward(self._model, self._before_model),
            before_forward(self._decoder, self._before_decoder),
        ]
        for number in self._layers_to_change():
            hook = partial(_before_layer, number)
            self._hooks.append(before_forward(self._decoder.layers[number], hook))
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._recording.close()
        _switch.leave(self._decoder)
        # Else a call in another thread, or with a video that the prompt doesn't show, would look
        # like a method that changes nothing.
        if not self.stats and error is None:
            warnings.warn(
                f"the method {self._method.name!r} was attached, but no generate() with a video "
                "ran in this thread before it was detached",
                stacklevel=2,
            )

    def expect_tree(self, cache: KVStore, tree: TokenTree) -> None:
        """Let the next forward on the cache of a call read a tree, in place of a token."""
        call = self._calls[cache]
        call.tree, call.flat = tree, False

    def expect_rows(self, of: Any, cache: Any, rows: int) -> None:
        """Let forwards on a stock cache read several sequences."""
        self._calls[cache] = self._calls[of].repeated(rows)

    def _layers_to_change(self) -> list[int]:
        """The decoder layers whose input isn't the output of the layer before."""
        pruning, layers = self._method.inside, len(self._decoder.layers)
        pruned = range(layers if pruning is None else pruning.layer, layers)
        # DeepStack adds to the output of the first layers: that is the input of layers 1, 2, …
        vision = getattr(self._model.config, "vision_config", None)
        stacked = len(getattr(vision, "deepstack_visual_indexes", None) or ())
        return sorted({*range(1, stacked + 1), *pruned})

    def _before_model(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The decoder gets embeddings only. Which of them are visual follows from the token ids,
        # which are seen here and nowhere later.
        self._inputs = ModelInputs.of(args, kwargs)

    def _before_decoder(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        if self._chunks.running:
            return None  # a chunk of a prompt that was shortened already
        cache = cache_of(kwargs)
        if cache is not None and cache in self._calls:
            # A decoding step of a call whose prompt was shortened below.
            call = self._calls[cache]
            if call.tree is None:
                check_decode_step(kwargs, len(call.sequences))
            return args, call.begin_step(kwargs)
        check_cache(cache)
        # Taken, not read: a later call of the decoder alone must not find ids of this prompt.
        inputs, self._inputs = self._inputs, None
        before, layouts = self._shortened, list[list[Layout]]()
        if before is not None:
            layouts = [[before.layout]]
            kwargs = kwargs | {"position_ids": before.positions.to(self._model.device)}
        elif inputs is not None:
            placeholders = [[len(video.embeddings) for video in shown] for shown in self._videos]
            layouts = inputs.layouts(self._model.config, kwargs, placeholders, self._shown_frames)
        # Likewise: what the tower recorded of this prompt must not count for the next one.
        recorded = None if self._tower is None else self._tower.take()
        merged = None
        if self._frames is not None:
            recorded, merged = self._frames.take(recorded)
        if inputs is None or not any(layouts):
            return None  # a prompt without a video: nothing to compress
        check_prefill(kwargs, self._method, module)
        check_mask(inputs.mask)
        if self._trace is not None and (len(layouts) > 1 or len(layouts[0]) > 1):
            raise UsageError("a trace is of one question about one video, not of several")
        tail = family_of(self._model.config).tail
        prompts = Prompts(kwargs["inputs_embeds"], layouts, inputs.not_padding(), tail)
        # The method selects before anything is computed from the dropped tokens: of S embeddings
        # the decoder reads the R that are kept.
        if before is not None:
            selections = [before.selection]
        else:
            selections = select(self._method, prompts, self._videos, recorded, merged)
        kwargs, call = shorten(
            kwargs,
            prompts,
            selections,
            self._method,
            module.config,
            make_mask=self._own_mask(inputs),
        )
        call.flat = self._flat
        self.recorder = None
        if self._trace is not None:
            first = selections[0] if before is None else Selection(before.kept)
            self.recorder = call.recorder = Recorder(self._trace, first.kept, first.into)
        for sequence, shown, selection in zip(call.sequences, layouts, selections, strict=True):
            sequence.stats.kept_by_video = kept_of_each(selection.kept, shown)
        if before is not None:
            call.sequences[0].stats.visual = before.visual
        # All chunks but the last run here, and the decoder's own forward gets the last one. So its
        # output has only that chunk's positions, which will do where the last logits are wanted.
        # In-LLM pruning needs the attention of the last token before layer L drops any: one pass.
        last_only = inputs.last_logits_only or self._chunks.prefix is not None
        if not args and last_only and self._method.inside is None:
            kwargs = self._chunks.up_to_last(module, kwargs, length_up_to(call.sequences[0].visual))
        self._calls[cache_of(kwargs)] = call
        self.stats = [sequence.stats for sequence in call.sequences]
        self.kept = [selection.kept.cpu() for selection in selections]
        if before is not None:
            self.kept = [before.kept]
        return args, kwargs

    def _own_mask(
        self, inputs: ModelInputs
    ) -> Callable[[dict[str, Any], torch.Tensor], Any] | None:
        """Make a function that makes the mask of a model whose frames see each other; or None.

        Such a model makes its mask before the decoder, for the uncompressed prompt. It is made
        again here, by the model's own function, for the tokens that are left.
        """
        if not makes_own_masks(self._model):
            return None

        def make(kwargs: dict[str, Any], at: torch.Tensor) -> Any:
            types = inputs.types
            return self._model.create_masks_for_generate(
                config=self._model.config,
                inputs_embeds=kwargs["inputs_embeds"],
                attention_mask=kwargs["attention_mask"],
                position_ids=kwargs["position_ids"],
                mm_token_type_ids=None if types is None else take(types, at),
                is_first_iteration=True,
                **{CACHE_ARGUMENT: cache_of(kwargs)},
            )

        return make


@contextmanager
def flat_without_method(model: Any) -> Iterator[None]:
    """Within the block, this thread's `generate()` without a method decodes as it would with one.

    Flat decoding makes steps faster. Without it a comparison would credit the method with that.
    """
    decoder = model.get_decoder()
    is_flat = can_be_flat(decoder) and "flex" not in attention_implementation(decoder)
    if family_of(model.config).only_none or not is_flat:
        yield
        return
    _switch.enter(decoder)
    try:
        with without_method():
            yield
    finally:
        _switch.leave(decoder)


def _before_layer(
    number: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Arguments | None:
    call: Call | None = kwargs.get(CALL_ARGUMENT)
    if call is None or not call.in_prefill:
        return None  # a prompt without a video, or a decoding step
    return call.before_layer(number, args, kwargs)


# One for all attachments: those of several threads on one model count as users of one switch.
_switch = AttentionSwitch(scoring_attention, flat_or_stock)
