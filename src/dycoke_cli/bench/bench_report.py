"""JSON document of `dycoke bench --json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from dycoke_cli.answer.answer import Model, Version
from dycoke_cli.answer.json_schema import Amount, Doc
from dycoke_cli.bench import SCHEMA
from dycoke_cli.version import __version__

AmountOrNull = Annotated[float | None, Doc(minimum=0)]
PeakOrNull = Annotated[
    int | None, Doc("The highest of all runs; null where it can't be measured.", minimum=0)
]
Kind = Literal["unchanged", "trade_off", "no_gain", "nothing_to_compare"]


@dataclass(frozen=True)
class Environment:
    """Versions and hardware of a benchmark."""

    python: str
    torch: str
    transformers: str
    processor: str
    cores: Annotated[int, Doc("CPU cores that the process may use.", minimum=1)]
    threads: Annotated[int, Doc("Of torch.", minimum=1)]
    accelerator: Annotated[str | None, Doc("The GPU's name, where the model runs on one.")]


@dataclass(frozen=True)
class Stages:
    """Wall time per stage of one question, in seconds, as if it were asked alone."""

    video_decode: Annotated[Amount, Doc("Decoding the video frames.")]
    preprocess: Annotated[
        Amount, Doc("From frames to the vision encoder's input, or to what is sent to a server.")
    ]
    vision: Annotated[AmountOrNull, Doc("Vision encoding; null if the server doesn't report it.")]
    prefill: Annotated[AmountOrNull, Doc("Prefill; null if the server doesn't report it.")]
    first_token: Annotated[
        AmountOrNull,
        Doc("From the file to the first token (TTFT); null of a server that doesn't stream."),
    ]
    decode: Annotated[AmountOrNull, Doc("From the first token to the last; likewise.")]
    decode_per_token: Annotated[
        float | None, Doc("decode / (generated - 1) (TPOT); null for one token.", minimum=0)
    ]
    total: Annotated[Amount, Doc("From the file to the last token.")]


SHARED = ("video_decode", "preprocess", "vision")
"""Stages that questions about a video share; measured once per run and video."""


@dataclass(frozen=True)
class MeanTokens:
    """Mean token counts per answer; null if the server doesn't report them."""

    visual: Annotated[AmountOrNull, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[AmountOrNull, Doc("Visual tokens at prefill.")]
    generated: AmountOrNull


@dataclass(frozen=True)
class Memory:
    """Memory in bytes; null for a server."""

    kv_cache: Annotated[AmountOrNull, Doc("Storage of the KV cache: mean per answer.")]
    peak_working: PeakOrNull
    peak_total: PeakOrNull


@dataclass(frozen=True)
class TimedRow:
    """One configuration: an entry of `rows`."""

    spec: Annotated[str, Doc("As it was given to --methods.")]
    method: Annotated[str, Doc("Name of the method.")]
    parameters: Annotated[dict[str, Any], Doc("All of the method's.")]
    control: Annotated[bool, Doc("A control without the whole video (no-video, one-frame).")]
    seconds: Annotated[Stages, Doc("Mean over questions of the medians over runs.")]
    total_least: Annotated[Amount, Doc("seconds.total of the fastest run: mean over questions.")]
    total_most: Annotated[Amount, Doc("seconds.total of the slowest run: mean over questions.")]
    tokens: MeanTokens
    bytes: Memory
    changed: Annotated[
        int | None, Doc("Answers whose text isn't the baseline's; null of the baseline.", minimum=0)
    ]
    changed_share: Annotated[
        float | None, Doc("changed / questions; null of the baseline.", minimum=0, maximum=1)
    ]


@dataclass(frozen=True)
class RowAnswer:
    """Answer of one configuration to one question."""

    spec: str
    answer: str
    same: Annotated[bool, Doc("Whether its text is the baseline's.")]
    finish_reason: Annotated[Literal["stop", "length"], Doc("length: cut by --max-new-tokens.")]
    generated: Annotated[int | None, Doc("Null if the server doesn't report it.", minimum=0)]
    seconds: Annotated[Stages, Doc("Medians over runs.")]


@dataclass(frozen=True)
class QuestionAnswers:
    """Question about a video with the answers of all rows: an entry of `answers`."""

    video: Annotated[str, Doc("As given.")]
    question: str
    answers: Annotated[tuple[RowAnswer, ...], Doc("In the order of the rows.", minItems=1)]


@dataclass(frozen=True)
class Recommendation:
    """Recommended configuration, and its risks."""

    kind: Annotated[
        Kind,
        Doc(
            "unchanged: the fastest configuration that changed no answer; trade_off: all that are "
            "faster changed some; no_gain: none is measurably faster than the baseline; "
            "nothing_to_compare: the baseline alone was measured, or controls."
        ),
    ]
    spec: Annotated[str | None, Doc("The row recommended; null where there is a trade-off.")]
    text: Annotated[str, Doc("For a person.")]
    risks: Annotated[tuple[str, ...], Doc("What these measurements can't show.", minItems=1)]


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """Result of a benchmark: the JSON object of `dycoke bench --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    commit: Annotated[str | None, Doc("Of this program, where it is known.")]
    model: Model | Annotated[Model, Doc(remote=True)]
    environment: Annotated[Environment | None, Doc("Null where a server answered.")]
    seconds_load: Annotated[AmountOrNull, Doc("Loading the model, once; null of a server.")]
    runs: Annotated[int, Doc("Counted runs; the warm-up before them isn't.", minimum=1)]
    videos: Annotated[tuple[str, ...], Doc("As they were given.", minItems=1)]
    questions: Annotated[tuple[str, ...], Doc("Asked about each video.", minItems=1)]
    sampling: Annotated[dict[str, Any], Doc("Frame sampling.")]
    generation: Annotated[dict[str, Any], Doc("Generation options.")]
    shared: Annotated[
        tuple[str, ...],
        Doc("Stages that a run measures once per video; its questions share them."),
    ] = SHARED
    rows: Annotated[tuple[TimedRow, ...], Doc("The baseline first.", minItems=1)]
    answers: tuple[QuestionAnswers, ...]
    recommendation: Recommendation
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
