"""JSON document of `dycoke verify --json`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from dycoke_cli.answer.answer import ReportedModel, Version
from dycoke_cli.answer.json_schema import Count, Doc
from dycoke_cli.kernels.processor import Environment
from dycoke_cli.verification import SCHEMA
from dycoke_cli.version import __version__

Outcome = Literal["ok", "failed"]

OK: Outcome = "ok"
FAILED: Outcome = "failed"


@dataclass(frozen=True)
class CheckResult:
    """Result of one check."""

    name: Annotated[str, Doc("What was checked, in a few words.")]
    verdict: Outcome
    detail: Annotated[str, Doc("A human-readable sentence.")]
    figures: Annotated[dict[str, Any], Doc("What was measured.")] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """Result of a verification: the JSON object of `dycoke verify --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    verdict: Literal["verified", "not verified"]
    model: ReportedModel
    family: Annotated[str, Doc("`model_type` of its configuration.")]
    layers: Annotated[int, Doc("Of the language model.", minimum=1)]
    frames: Annotated[Count, Doc("Of the clip.")]
    environment: Environment
    steps: Annotated[tuple[CheckResult, ...], Doc("The checks, in order.")]
