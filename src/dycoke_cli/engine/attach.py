"""Attaches a method to a stock model by public hooks, and restores the model afterwards.

A forward pre-hook on the model notes where the visual tokens are. One on the text decoder has the
method select, and drops the other tokens. What else happens before the prefill, after the selection
and at each step is in stages (`state.py`). A `KVStore` takes the place of the call's empty cache,
unless there are layers that don't keep every token: to those a shortened prompt is just a shorter
one, in the stock cache. Like `torch.no_grad()`, an attachment holds for the thread that entered it.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import DynamicCache

from dycoke_cli.compression.method import Method, layer_prunings
from dycoke_cli.engine.attention import scoring_attention
from dycoke_cli.engine.chunked_prefill import ChunkedPrefill, PrefixCache
from dycoke_cli.engine.flat_decode import FlatSteps, can_be_flat
from dycoke_cli.engine.inside import AttentionToFrames, InLLMPruning
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.model_inputs import EmbeddedPrompts, ModelInputs
from dycoke_cli.engine.prefill import (
    AddedByLayer,
    OwnMasks,
    VideoInWindows,
    makes_own_masks,
    shorten,
)
from dycoke_cli.engine.selecting import EncodedVideos, VideosInGenerate
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.state import (
    STATE_ARGUMENT,
    DecodeStats,
    GenerationState,
    LayerSelection,
    Prefill,
    Stage,
    Videos,
)
from dycoke_cli.engine.supported import (
    check_cache,
    check_decode_step,
    check_decoder,
    check_mask,
    check_prefill,
    other_caches,
)
from dycoke_cli.engine.trace import Recorder, Tracing
from dycoke_cli.engine.vision import Encoded, Preselection
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import ModelInfo, family_of
from dycoke_cli.stock.forward import Arguments, WrappedAttention, before_forward
from dycoke_cli.stock.private_api import cache_name, cache_of


class InStore(Stage):
    """The cache of a call is a `KVStore`, which makes the masks of its layers."""

    def after_selection(self, prefill: Prefill) -> None:
        """Put the store in the place of the cache."""
        state, pruning = prefill.state, prefill.pruning
        store = KVStore(
            layers=prefill.decoder.config.num_hidden_layers,
            paddings=[sequence.padding for sequence in state.sequences],
            visual=[sequence.visual for sequence in state.sequences],
            length=prefill.at.shape[1],
            uncompressed_length=prefill.prompts.stays.shape[1],
            first_pruned=pruning.layer if pruning else None,
            bias=_bias(prefill),
        )
        if pruning:
            state.step_selection = _StepSelection(scoring_layer=pruning.layer - 1)
        state.cache = weakref.ref(store)
        prefill.kwargs[cache_name(prefill.kwargs)] = store

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Begin a step of the store."""
        assert state.store is not None, "it was found by its cache"
        state.store.begin_step()
        # No mask: the store makes one for each layer, where any is needed, for layers before and
        # behind the prune layer hold different numbers of keys.
        return kwargs | {"attention_mask": None, STATE_ARGUMENT: state}


class InStockCache(Stage):
    """The cache of a call is the stock one."""

    def after_selection(self, prefill: Prefill) -> None:
        """See that there is one: the call is found again by it."""
        # generate() made one. A bare forward may come without.
        if cache_of(prefill.kwargs) is None:
            made = DynamicCache(config=prefill.decoder.config)
            prefill.kwargs[cache_name(prefill.kwargs)] = made

    def before_step(self, state: GenerationState, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The mask is that of the shortened prompts."""
        if state.keep is not None:  # the new token is no padding
            state.keep = torch.nn.functional.pad(state.keep, (0, 1), value=True)
        return kwargs | {"attention_mask": state.keep}


@dataclass(frozen=True)
class _StepSelection(LayerSelection):
    """The selection of a decoding step; the layers behind follow it."""

    scoring_layer: int  # the last that attends to every token

    def scores_at(self, layer: int) -> bool:
        """See `LayerSelection`."""
        return layer == self.scoring_layer

    def select(self, state: GenerationState, layer: int, attention: list[torch.Tensor]) -> None:
        """See `LayerSelection.select`."""
        assert state.store is not None
        active = [
            None if sequence.selector is None else sequence.select(sequence.to_visual(weights))
            for sequence, weights in zip(state.sequences, attention, strict=True)
        ]
        if active[0] is not None:
            state.records.select(active[0], state.sequences[0].stats.choices_renewed)
        # The layers make the swaps as they run: those behind this one, in this very step.
        state.store.arrange(active)


def _bias(prefill: Prefill) -> torch.Tensor | None:
    """What is added to the attention logits of the tokens `[B, R]` that are read; None for nothing.

    log n for a token that n were merged into, 0 for all others.
    """
    if not prefill.method.weighs_merged():
        return None
    embeddings = prefill.prompts.embeddings
    wide = torch.promote_types(embeddings.dtype, torch.float32)
    bias = torch.zeros(prefill.at.shape, dtype=wide, device=embeddings.device)
    pairs = zip(prefill.state.sequences, prefill.selections, strict=True)
    for number, (sequence, selection) in enumerate(pairs):
        if (sizes := selection.sizes) is not None:
            bias[number, sequence.visual.to(bias.device)] = sizes.double().log().to(bias)
    return bias


def attach(
    model: Any,
    method: Method,
    *,
    trace: int | None = None,
    prefix: PrefixCache | None = None,
    videos: Sequence[Sequence[Encoded]] = (),
    flat: bool = True,
    frames: int | None = None,
    preselection: Preselection | None = None,
    decodes: bool = True,
) -> Attachment:
    """Make the context manager that applies `method` to `model`'s `generate()` calls.

    Args:
        method: its selections are made for each sequence of a batch alone; it is settled for the
            model here.
        trace: the layer whose attention is recorded, of the first sequence, with what is active;
            see `trace.traced_layer`. None records nothing.
        decodes: whether decoding steps follow. Without them a method prunes nothing in decode: what
            is read behind the prompt attends to all tokens that the prompt has.
    """
    model = getattr(model, "_orig_mod", model)  # with which one of `torch.compile` generates
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
    method = settled(method, ModelInfo.of(model.config))
    # Without `videos` generate() encodes them. Hooks can merge whole frames there; patches are
    # dropped, and frames scaled, by `encode_video` alone.
    decoder = model.get_decoder()
    check_decoder(decoder, method, decodes=decodes)
    if method.before_vision() is not None and not videos:
        raise UsageError(
            "merge_stage vision is for a VideoSession, which encodes the video itself; use llm here"
        )
    if method.shrink() is not None and not videos:
        raise UsageError(
            f"the method {method.name} is for a VideoSession, which encodes the video itself; here "
            "scale the frames that the processor is given"
        )
    shown: Videos
    if preselection is not None:
        shown = VideoInWindows(preselection)
    elif videos:  # which bring their attention and merged frames along
        shown = EncodedVideos(model.config, videos, frames)
    else:
        shown = VideosInGenerate(model, method, frames)
    layers = decoder.config.num_hidden_layers
    if trace is not None and not 0 <= trace < layers:
        raise UsageError(f"trace takes the index of a layer, 0 to {layers - 1}, not {trace}")
    inside = layer_prunings(method, layers)
    # The baseline is stock in every decoder that has no flat steps.
    is_stock = method.name == "none" and decodes and not (flat and can_be_flat(decoder))
    # In the order in which they are called.
    stages: list[Stage] = [
        InStockCache() if is_stock or other_caches(decoder.config) else InStore(),
        AddedByLayer(model),
    ]
    if method.reads_before:
        stages.append(AttentionToFrames())
    if inside:
        stages.append(InLLMPruning(inside, decoder.layers))
    if makes_own_masks(model):
        stages.append(OwnMasks(model))
    if flat:
        stages.append(FlatSteps(decoder))
    if trace is not None:
        stages.append(Tracing(trace))
    # Last, for it runs the decoder. In-LLM pruning needs the attention of the last token before
    # layer L drops any: one pass.
    if not inside:
        stages.append(ChunkedPrefill(prefix))
    return Attachment(model, method, shown, stages, decodes=decodes)


class Attachment:
    """A method on a model, for the length of a `with` block in the thread that entered it.

    Attributes:
        stats: counts of the newest `generate()` call, for each sequence of its batch; empty before
            the first call.
        kept: which visual tokens each of them kept, `[M]`, int64.
        states: the state of each call, by its cache, for that is what stock code hands back at each
            step. Weakly: when `generate()` drops the cache, the call is over.
    """

    def __init__(
        self, model: Any, method: Method, videos: Videos, stages: Sequence[Stage], *, decodes: bool
    ) -> None:
        self.stats: list[DecodeStats] = []
        self.kept: list[torch.Tensor] = []
        self.states: WeakKeyDictionary[Any, GenerationState] = WeakKeyDictionary()
        self._model, self._decoder = model, model.get_decoder()
        self._method, self._decodes = method, decodes
        self._videos, self._stages = videos, [videos, *stages]
        self._inputs: ModelInputs | None = None
        self._open = ExitStack()
        self._was_entered = False

    def __enter__(self) -> Attachment:
        self._was_entered = True
        check_unattached(self._model)
        here = _here(self._model)
        with ExitStack() as stack:  # undone if a stage can't be entered
            _attached.add(here)
            stack.callback(_attached.discard, here)
            stack.callback(WrappedAttention(self._decoder, scoring_attention).remove)
            for stage in self._stages:
                stack.enter_context(stage.attached())
            hooks = [
                before_forward(self._model, self._before_model),
                before_forward(self._decoder, self._before_decoder),
            ]
            for number in sorted({layer for stage in self._stages for layer in stage.layers()}):
                hook = partial(_before_layer, number)
                hooks.append(before_forward(self._decoder.layers[number], hook))
            for handle in hooks:
                stack.callback(handle.remove)
            self._open = stack.pop_all()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._open.close()
        for cache in self.states:
            if isinstance(cache, KVStore):
                cache.close()
        # Else a call in another thread, or with a video that the prompt doesn't show, would look
        # like a method that changes nothing.
        if not self.stats and error is None:
            warnings.warn(
                f"the method {self._method.name!r} was attached, but no generate() with a video "
                "ran in this thread before it was detached",
                stacklevel=2,
            )

    def __del__(self) -> None:
        if not getattr(self, "_was_entered", True):
            warnings.warn(
                f"the method {self._method.name!r} was made for a model and never attached: write "
                f"`with {type(self._method).__name__}()(model):`",
                stacklevel=2,
            )

    @property
    def recorder(self) -> Recorder | None:
        """What the newest call attended to; None where it isn't recorded."""
        tracing = [stage for stage in self._stages if isinstance(stage, Tracing)]
        return tracing[0].recorder if tracing else None

    def _before_model(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # The decoder gets embeddings only. Which of them are visual follows from the token ids,
        # which are seen here and nowhere later.
        if kwargs.get("labels") is not None:
            raise UsageError(
                f"labels with the method {self._method.name}: it drops tokens of the prompt, so "
                "there are fewer logits than labels; compute the loss without a method"
            )
        self._inputs = ModelInputs.of(args, kwargs)

    def _before_decoder(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments | None:
        if STATE_ARGUMENT in kwargs:
            return None  # a chunk of a prompt that was shortened below
        cache = cache_of(kwargs)
        if cache is not None and cache in self.states:
            # A step behind prompts that were shortened below.
            state = self.states[cache]
            check_decode_step(kwargs, len(state.sequences), state.step.count)
            kwargs = state.begin_step(kwargs)
            for stage in self._stages:
                kwargs = stage.before_step(state, kwargs)
            return args, kwargs
        check_cache(cache)
        # Taken, not read: a later call of the decoder alone must not find ids of this prompt.
        inputs, self._inputs = self._inputs, None
        layouts = self._videos.find(inputs, kwargs)
        if inputs is None or not any(layouts):
            return None  # a prompt without a video: nothing to compress
        check_prefill(kwargs, self._method, module)
        check_mask(inputs.mask)
        tail = family_of(self._model.config).tail
        prompts = EmbeddedPrompts(kwargs["inputs_embeds"], layouts, inputs.not_padding(), tail)
        prefill = Prefill(
            module,
            self._method,
            self._method.pruning() if self._decodes else None,
            inputs,
            kwargs,
            bool(args),
            prompts,
            {**kwargs},
        )
        for stage in self._stages:
            stage.before_prefill(prefill)
        # The method selects before anything is computed from the dropped tokens: of S embeddings
        # the decoder reads the R that are kept.
        prefill.selections = self._videos.select(self._method, prefill.prompts)
        shorten(prefill)
        for stage in self._stages:
            stage.after_selection(prefill)
        self.states[cache_of(prefill.kwargs)] = prefill.state
        self.stats = [sequence.stats for sequence in prefill.state.sequences]
        self.kept = prefill.kept
        return args, prefill.kwargs


def check_unattached(model: Any) -> None:
    """Refuse a second method on a model, in one thread: the first would have dropped its tokens."""
    if _here(model) in _attached:
        raise UsageError(
            "a method is attached to this model already; leave its with block before another one "
            "is attached, or a VideoSession asks"
        )


def _here(model: Any) -> tuple[int, int]:
    return threading.get_ident(), id(model.get_decoder())


def _before_layer(
    number: int, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Arguments | None:
    state: GenerationState | None = kwargs.get(STATE_ARGUMENT)
    if state is None or not state.in_prefill:
        return None  # a prompt without a video, or a decoding step
    arguments = args, kwargs
    for part in state.layer_inputs:
        arguments = part.before_layer(state, number, arguments)
    return arguments


_attached: set[tuple[int, int]] = set()
"""By thread and text decoder: where a method is attached."""
