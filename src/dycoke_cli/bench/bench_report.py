"""JSON document of `dycoke bench --json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import ReportedModel, Version
from dycoke_cli.answer.json_schema import Amount, Doc
from dycoke_cli.bench import SCHEMA
from dycoke_cli.kernels.processor import Environment
from dycoke_cli.version import __version__


@dataclass(frozen=True)
class Stages:
    """Wall time per stage of one question, in seconds, as if it were asked alone."""

    video_decode: Annotated[Amount, Doc("Decoding the video frames.")]
    preprocess: Annotated[Amount, Doc("From frames to the vision encoder's input.")]
    vision: Annotated[Amount, Doc("Vision encoding.")]
    prefill: Amount
    first_token: Annotated[Amount, Doc("From the file to the first token (TTFT).")]
    decode: Annotated[Amount, Doc("From the first token to the last.")]
    decode_per_token: Annotated[
        float | None, Doc("decode / (generated - 1) (TPOT); null for one token.", minimum=0)
    ]
    total: Annotated[Amount, Doc("From the file to the last token.")]


@dataclass(frozen=True)
class MeanTokens:
    """Mean token counts per answer."""

    visual: Annotated[Amount, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[Amount, Doc("Visual tokens at prefill.")]
    generated: Amount


@dataclass(frozen=True)
class Memory:
    """Memory in bytes."""

    kv_cache: Annotated[Amount, Doc("Storage of the KV cache: mean per answer.")]
    peak_total: Annotated[
        int | None, Doc("The highest of all runs; null where it can't be measured.", minimum=0)
    ]


@dataclass(frozen=True)
class TimedRow:
    """One configuration: an entry of `rows`."""

    spec: Annotated[str, Doc("As it was given to --methods.")]
    method: Annotated[str, Doc("Name of the method.")]
    parameters: Annotated[dict[str, Any], Doc("All of the method's.")]
    seconds: Annotated[Stages, Doc("Mean over questions of the medians over runs.")]
    total_least: Annotated[Amount, Doc("seconds.total of the fastest run: mean over questions.")]
    total_most: Annotated[Amount, Doc("seconds.total of the slowest run: mean over questions.")]
    tokens: MeanTokens
    bytes: Memory
    changed: Annotated[
        int | None, Doc("Answers whose text isn't the baseline's; null of the baseline.", minimum=0)
    ]


@dataclass(frozen=True)
class QuestionAnswers:
    """Question about a video with the answers of all rows: an entry of `answers`."""

    video: Annotated[str, Doc("As given.")]
    question: str
    answers: Annotated[dict[str, str], Doc("Of the first run, by the row's spec.")]


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Result of a benchmark: the JSON object of `dycoke bench --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    commit: Annotated[str | None, Doc("Of this program, where it is known.")]
    model: ReportedModel
    environment: Environment
    seconds_load: Annotated[Amount, Doc("Loading the model, once.")]
    runs: Annotated[int, Doc("Counted runs; the warm-up before them isn't.", minimum=1)]
    videos: Annotated[tuple[str, ...], Doc("As they were given.", minItems=1)]
    questions: Annotated[tuple[str, ...], Doc("Asked about each video.", minItems=1)]
    sampling: Annotated[dict[str, Any], Doc("Frame sampling.")]
    generation: Annotated[dict[str, Any], Doc("Generation options.")]
    rows: Annotated[tuple[TimedRow, ...], Doc("The baseline first.", minItems=1)]
    answers: tuple[QuestionAnswers, ...]
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
