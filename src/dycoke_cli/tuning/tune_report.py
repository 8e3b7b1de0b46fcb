"""JSON document of `dycoke tune --json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from dycoke_cli.answer.answer import ReportedModel, Tuned, Version
from dycoke_cli.answer.json_schema import Count, Doc
from dycoke_cli.version import __version__

SCHEMA = "dycoke.tune/1"


@dataclass(frozen=True)
class TunedRow:
    """One remaining setting: an entry of `rows`."""

    setting: Annotated[str, Doc("As --method takes it.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    tokens: Annotated[float, Doc("Retention: mean of prefill and decode.")]
    seconds: Annotated[float, Doc("Per question: prefill and decode.")]
    divergence: Annotated[float, Doc("From the uncompressed answers, in nats per token.")]
    agreement: Annotated[float, Doc("Share of unchanged answers, on the search videos.")]
    tested: Annotated[float | None, Doc("Agreement on the test videos; null if not measured.")]
    interval: Annotated[tuple[float, ...], Doc("Confidence interval (95 %) of `tested`.")]
    on_frontier: Annotated[bool, Doc("Whether it is on the Pareto front of tokens and divergence.")]
    chosen: bool


@dataclass(frozen=True)
class GuardPromise:
    """Calibration of a guard at one bound."""

    alpha: float
    on_average: bool
    threshold: Annotated[float | None, Doc("Null keeps all tokens.")]
    videos: Count
    missing: Annotated[Count, Doc("Additional videos that are needed, at least.")]


@dataclass(frozen=True, kw_only=True)
class TuneReport:
    """Result of a search: the JSON object of `dycoke tune --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    model: ReportedModel
    target: float
    videos: Annotated[tuple[str, ...], Doc("Measured videos.")]
    questions: tuple[str, ...]
    general_questions: Annotated[bool, Doc("Whether they are the built-in ones.")]
    settings: Annotated[Count, Doc("Of the grid.")]
    compared: Annotated[Count, Doc("Settings that the time was enough to measure.")]
    complete: Annotated[bool, Doc("Whether the time was enough for all settings and videos.")]
    baseline_seconds: float
    rows: tuple[TunedRow, ...]
    choice: Annotated[str, Doc("The setting that was chosen; none is the baseline.")]
    tuned: Tuned
    guard: Annotated[tuple[GuardPromise, ...], Doc("By bound.")]
    ladder: Annotated[tuple[str, ...], Doc("Settings that a guard tries, smallest budget first.")]
    warnings: tuple[str, ...]
