"""Answers a few videos at a time with a model and decoders that stay between."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dycoke_cli.batch.jobs import Job
from dycoke_cli.batch.listener import Listener
from dycoke_cli.batch.outcome import Outcome
from dycoke_cli.batch.plan import How
from dycoke_cli.batch.reading import ReadAhead
from dycoke_cli.processes import Worker

AnswerSlice = Callable[[Sequence[Job]], list[Outcome]]
MakeAnswerSlice = Callable[[How, int], AnswerSlice]
"""From how to answer, and the threads for it, to what answers."""


def load_slices(how: How, threads: int) -> AnswerSlice:
    """Load the model, with as many threads for arithmetic in this process.

    Raises:
        ModelError: it can't be loaded.
        UsageError: it can't be asked with that method.
    """
    # Only now: torch is nothing for the process that a run begins in.
    import torch

    from dycoke_cli.batch.answering import load_answerer
    from dycoke_cli.batch.local import answer_all
    from dycoke_cli.models.quiet import silence_libraries

    torch.set_num_threads(threads)
    silence_libraries()
    answerer = load_answerer(how)
    idle: list[Worker] = []
    decoders = max(1, threads - 1)

    def answer_slice(jobs: Sequence[Job]) -> list[Outcome]:
        with ReadAhead(jobs, how.sampling, decoders, idle=idle) as ahead:
            return list(answer_all(ahead, answerer, Listener()))

    return answer_slice
