"""What an answer would cost: the object of `--estimate`, from configuration and video alone.

Loads no weights: `--estimate`. What is wrong with a request is said before torch is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import ReportedWindows, Version
from dycoke_cli.answer.json_schema import ABSENT, Absent, Amount, Count, Doc
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.registry import described
from dycoke_cli.engine.memory.cost_model import (
    CostModel,
    EstimatedContext,
    ReadInWindows,
    would_fit,
)
from dycoke_cli.engine.memory.flops import BUSY, expected_flops, is_overloaded
from dycoke_cli.engine.settling import settled
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.models.catalog import ClipTokens, ModelRef
from dycoke_cli.models.devices import Target
from dycoke_cli.models.families import ModelInfo
from dycoke_cli.models.files.hub import config_in, model_folder, stored_config
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.version import __version__
from dycoke_cli.video.clip import WINDOW

SCHEMA = "dycoke.estimate/1"


@dataclass(frozen=True)
class EstimatedTokens:
    """Tokens of the prompt, and of a decoding step."""

    frames: Annotated[Count, Doc("As the model sees them: pairs of frames, where it merges them.")]
    per_frame: Count
    visual: Annotated[Count, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[Count, Doc("Visual tokens at prefill.")]
    visual_read_per_step: Annotated[
        Amount, Doc("Visual tokens attended per step, mean over layers.")
    ]
    text: Annotated[
        Count,
        Doc(
            "Assumed: 32 for the chat template, a token per 3 bytes of the question; of the frames."
        ),
    ]


@dataclass(frozen=True)
class EstimatedBytes:
    """Memory in bytes."""

    weights: Annotated[Count, Doc("Once they are loaded, in the form that each layer has then.")]
    loading: Annotated[Count, Doc("Weights at the peak of loading.")]
    kv_cache: Annotated[Count, Doc("Of the prompt and of max_tokens.")]
    kv_cache_uncompressed: Count
    peak: Annotated[
        Count,
        Doc("Peak memory of an answer or of loading, weights included; on a CPU of the process."),
    ]
    peak_uncompressed: Count
    reserve: Annotated[
        Count, Doc("That has to be free beside the peak: 5 %, and on CUDA its context.")
    ]


@dataclass(frozen=True)
class EstimatedFlops:
    """FLOPs of the language model by the paper's formula (section 3.4), text included."""

    prefill: Amount
    prefill_uncompressed: Amount
    decode: Annotated[Amount, Doc("Of max_tokens.")]
    decode_uncompressed: Amount


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What an answer would cost: the JSON object of `--estimate`."""

    schema: str = SCHEMA
    version: Version = __version__
    video: Annotated[str | None, Doc("As given.")]
    model: str
    dtype: Annotated[str, Doc("Of the weights, or the quantization.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    max_tokens: Count
    device: Annotated[str, Doc("That it is estimated for.", enum=["cuda", "mps", "cpu"])]
    tokens: EstimatedTokens
    context: EstimatedContext
    bytes: EstimatedBytes
    flops: EstimatedFlops
    seconds: Annotated[
        float | None,
        Doc(
            "Of all questions about the video, about: FLOPs of vision and prefill over the rate of "
            "a matrix product on this machine, and what each step of decode reads over that of a "
            "product with one row. Null where either isn't known.",
            minimum=0,
        ),
    ]
    free: Annotated[int | None, Doc("Bytes of the device that are free, or as given.", minimum=0)]
    fits: Annotated[
        str | None,
        Doc("Where it fits in free memory.", enum=["gpu", "ram", "no", None]),
    ]
    would_fit: Annotated[
        tuple[str, ...], Doc("Flags with each of which it would fit, where it doesn't.")
    ]
    warnings: Annotated[tuple[str, ...], Doc("Sentences for a person.")]
    windows: Annotated[
        ReportedWindows | Absent, Doc("With --video-tokens: as the video is read.")
    ] = ABSENT


def estimate_cost(
    source: ModelRef,
    clip: ClipTokens,
    method: Method,
    loading: LoadOptions,
    max_tokens: int,
    target: Target,
    video: str | None = None,
    *,
    times_s: Sequence[float] = (),
    frame_bytes: int = 0,
    video_tokens: int | None = None,
    question: str | None = None,
    questions: int = 1,
) -> Cost:
    """What an answer would cost.

    Args:
        method: what is dropped; parameters that are None take the model's defaults.
        loading: dtype, quantization and kernels.
        video: as it was given.
        times_s: of the frames that are sampled; none where there is no video.
        video_tokens: visual tokens of a video that is read in windows; None for all frames at once.
        question: that is asked; None for one of usual length.
        questions: that are asked about the clip: for `seconds`, and what is kept between them.
    """
    stored = config_of(source, loading.revision)
    info, frames = stored, len(times_s) or clip.frames
    if video_tokens is not None and not info.listed:
        raise UsageError(
            f"{source.name} can't be shown a video in windows: its processor reads all frames at "
            "once; leave out --video-tokens"
        )
    if video_tokens is not None and frames > WINDOW:
        info = info.in_windows
    method = settled(method, info)
    model = (source, stored, method, loading)
    answer = CostModel(*model, max_tokens, target, frame_bytes, question, questions)
    sizes, video_in_windows, held = answer.sizes, None, clip
    if video_tokens is None:
        kept = method.kept_tokens(clip.frames, clip.per_frame)
        peak = answer.peak(method, clip, kept)
    else:
        video_in_windows = answer.in_windows(method, clip, frames, video_tokens)
        kept, held = video_in_windows.read, video_in_windows.clip
        peak = answer.peak_in_windows(method, video_in_windows)
    compressed = answer.memory(method, held, kept)
    plain = answer.memory(BASELINE, clip, clip.visual)
    flops, whole = (
        expected_flops(
            chosen,
            clip,
            text=answer.text(clip),
            generated=max_tokens,
            layers=sizes.layers,
            hidden=sizes.hidden,
            mlp=sizes.mlp,
            kept=read,
        )
        for chosen, read in ((method, kept), (BASELINE, clip.visual))
    )
    fits, context = answer.fits(peak), answer.context(clip, kept)
    seconds = answer.seconds(method, clip, flops.prefill, kept)
    busy = (BUSY,) if seconds is not None and is_overloaded() else ()
    weights = answer.facts.weights
    return Cost(
        video=video,
        model=source.name,
        dtype=answer.loading.quantize or answer.facts.dtype,
        method=described(method),
        max_tokens=max_tokens,
        device=target.device,
        tokens=EstimatedTokens(
            clip.frames,
            clip.per_frame,
            clip.visual,
            kept,
            answer.read(method, kept),
            answer.text(clip),
        ),
        context=context,
        bytes=EstimatedBytes(
            weights=weights.loaded,
            loading=weights.loading,
            kv_cache=compressed.kv,
            kv_cache_uncompressed=plain.kv,
            peak=peak,
            peak_uncompressed=answer.peak(BASELINE, clip, clip.visual),
            reserve=answer.reserve(peak),
        ),
        flops=EstimatedFlops(flops.prefill, whole.prefill, flops.decode, whole.decode),
        seconds=seconds,
        free=target.free,
        fits=fits,
        would_fit=(
            ()
            if fits != "no" and context.fits
            else would_fit(answer, clip, frames, video_in_windows)
        ),
        warnings=(*answer.warnings(clip, kept, times_s), *busy),
        windows=ABSENT if video_in_windows is None else _reported(video_in_windows, method, info),
    )


def _reported(video: ReadInWindows, method: Method, info: ModelInfo) -> ReportedWindows:
    """The windows as an answer reports them."""
    positions = method.parameters().get("positions", info.defaults["positions"])
    return ReportedWindows(video.count, WINDOW, video.kept, video.cap, positions)


def clip_tokens(
    source: ModelRef, frames: int, height: int, width: int, revision: str | None = None
) -> ClipTokens:
    """The visual tokens of a clip, by what the catalog has of the model's family.

    Where it has nothing, the model's processor is asked about blank frames; its small files are
    downloaded if need be.
    """
    of_catalog = None if source.entry is None else source.entry.clip_tokens(frames, height, width)
    if of_catalog is not None:
        return of_catalog
    from dycoke_cli.models.prompts.stock_processor import ShownFrames
    from dycoke_cli.models.prompts.stock_prompt import count_tokens

    return count_tokens(source, ShownFrames.blank(frames, height, width), revision)


def config_of(source: ModelRef, revision: str | None) -> ModelInfo:
    """The configuration as it is stored: on this machine, in the package, or on the hub."""
    stored = None if revision else stored_config(source)
    if stored is None and not source.local:
        stored = config_in(model_folder(source, revision), source.name)
    if stored is None:
        raise ModelError(f"the config.json of {source.name} can't be read; download it again")
    return stored
