"""Flags of the LLM judge."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from dycoke_cli.cli.flags.flag_table import flag_table
from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.evaluation.dataset import Dataset
    from dycoke_cli.evaluation.scoring.judge import OpenAIClient


_FLAGS = flag_table("""
    [Judge (open answers)]
    --judge-model NAME: Also have the answers graded by an LLM, such as gpt-4o-2024-11-20; for
        activitynetqa and video_dc499. The key is taken from OPENAI_API_KEY.
    --judge-url URL: An OpenAI-compatible endpoint that serves it, such as http://localhost:8000/v1.
        Default: OpenAI's.
""")


@dataclass(frozen=True)
class JudgeFlags:
    """Flags of the LLM judge."""

    judge_model: Annotated[str | None, _FLAGS["--judge-model"]] = None
    judge_url: Annotated[str | None, _FLAGS["--judge-url"]] = None

    def client(self, dataset: Dataset) -> OpenAIClient | None:
        """Client of the chosen judge; None without one."""
        if self.judge_model is None:
            if self.judge_url is not None:
                raise UsageError("--judge-url needs the name of a model there: --judge-model NAME")
            return None
        if not dataset.about.judge:
            raise UsageError(
                f"--judge-model is for open answers, and {dataset.name} has none: leave it out"
            )
        from dycoke_cli.evaluation.scoring.judge import KEY, OpenAIClient

        client = OpenAIClient(self.judge_model, self.judge_url)
        # A local endpoint needs no key; OpenAI's does, and would fail only after the run.
        if self.judge_url is None and not (
            os.environ.get(KEY) or os.environ.get("OPENAI_BASE_URL")
        ):
            raise UsageError(
                f"--judge-model {self.judge_model} needs a key: set {KEY}, or name an endpoint of "
                "your own with --judge-url"
            )
        return client
