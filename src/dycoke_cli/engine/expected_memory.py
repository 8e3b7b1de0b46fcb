"""What a question about a video will take of a loaded model's device, and whether it has that."""

from __future__ import annotations

from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.encode import chunk_numbers
from dycoke_cli.engine.estimate import CUDA_CONTEXT, Estimate, Sizes, Work, estimate
from dycoke_cli.engine.kv_layer import SPARE_ROWS
from dycoke_cli.engine.pieces import rows_at_once
from dycoke_cli.engine.supported import makes_own_masks, other_caches
from dycoke_cli.models.devices import input_device
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompt import VideoPrompt
from dycoke_cli.resources import in_words

CHANNELS = 3


def expected(loaded: LoadedModel, video: VideoPrompt, method: Method, text: int) -> Estimate:
    """What one question takes.

    Args:
        loaded: the model.
        video: what its processor made of the video.
        method: what is left out.
        text: tokens of the prompt that aren't visual.
    """
    model = loaded.model
    decoder = model.get_decoder()
    read = method.kept_tokens(video.frames, video.tokens_per_frame)
    whole = (
        method.inside() is not None or makes_own_masks(model) or bool(other_caches(decoder.config))
    )
    vision = getattr(model.config, "vision_config", None)
    side = _first(vision, "patch_size", default=14)
    patch = side**2 if isinstance(side, int) else side[0] * side[1]
    work = Work(
        visual=video.visual,
        kept=read,
        text=text,
        at_once=read + text if whole else rows_at_once(read + text, decoder),
        spare=SPARE_ROWS,
        patches=chunk_numbers(input_device(model)) // (CHANNELS * patch),
    )
    return estimate(sizes_of(loaded), work)


def sizes_of(loaded: LoadedModel) -> Sizes:
    """The sizes of a model, by its configuration."""
    config, text = loaded.model.config, loaded.model.get_decoder().config
    vision = getattr(config, "vision_config", None)
    heads = _first(text, "num_key_value_heads", "num_attention_heads", default=1)
    width = _first(text, "head_dim", default=text.hidden_size // text.num_attention_heads)
    vision_hidden = _first(vision, "embed_dim", "hidden_size", default=0)
    return Sizes(
        weights=loaded.weights_bytes,
        number=loaded.model.dtype.itemsize,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        mlp=_first(text, "intermediate_size", default=4 * text.hidden_size),
        kv=2 * heads * width,
        vocabulary=text.vocab_size,
        vision_hidden=vision_hidden,
        vision_mlp=_first(vision, "intermediate_size", default=4 * vision_hidden),
        stacked=len(_first(vision, "deepstack_visual_indexes", default=())),
    )


def memory_warning(
    loaded: LoadedModel, video: VideoPrompt, method: Method, text: int
) -> str | None:
    """A sentence where a question will hardly fit on the device; None where it will, or who knows.

    Args: as of `expected`.
    """
    if loaded.free_bytes is None:
        return None
    on_cuda = input_device(loaded.model).type == "cuda"
    total = expected(loaded, video, method, text).total(CUDA_CONTEXT if on_cuda else 0)
    if total <= loaded.free_bytes:
        return None
    return (
        f"this may not fit: it {in_words(total, loaded.free_bytes)} on {loaded.device}; use fewer "
        "--frames, a larger --merge-ratio or a smaller --model"
    )


def _first(config: Any, *names: str, default: Any) -> Any:
    """The first of these attributes that a configuration has."""
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), default)
