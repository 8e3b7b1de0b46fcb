"""Answering under a guard: the budget grows until the answer is certain enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dycoke_cli.answer.answer import Answer, Flops, Seconds
from dycoke_cli.answer.guarantee import Guarded, GuardStep
from dycoke_cli.engine.ask_together import Question, ask_together
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.observing import CertaintyObserver
from dycoke_cli.guard.ladder import Guard


def ask_guarded(
    questions: Sequence[Question],
    guard: Guard,
    options: GenerationOptions,
    on_text: Callable[[str], None] | None = None,
) -> list[Answer]:
    """Answer questions, each by as many budgets as it takes; see `ask_together`.

    Times and FLOPs are those of all budgets that were tried; all else is of the last.

    Args: as of `ask_together`; no text comes before its certainty is known.
    """
    answers: dict[int, Answer] = {}
    paths: dict[int, list[tuple[Answer, float | None]]] = {n: [] for n in range(len(questions))}
    left = list(paths)
    for number, method in enumerate(guard.steps):
        last = number == len(guard.steps) - 1
        observer = None if last else CertaintyObserver()
        asked = ask_together([questions[n] for n in left], method, options, None, observer)
        put = [each for each in asked if not each.refused]
        again = []
        for n, answer in zip(left, asked, strict=True):
            if answer.refused:
                answers[n] = answer
                continue
            score = None
            if observer is not None:
                row = next(i for i, each in enumerate(put) if each is answer)
                score = observer.certainty(row, answer.tokens.generated).least_probability
            paths[n].append((answer, score))
            if score is not None and guard.threshold is not None and score < guard.threshold:
                again.append(n)
            else:
                answers[n] = _with_path(guard, paths[n])
        left = again
        if not left:
            break
    if on_text is not None:
        on_text(answers[0].answer)
    return [answers[n] for n in paths]


def _with_path(guard: Guard, path: Sequence[tuple[Answer, float | None]]) -> Answer:
    final, _ = path[-1]
    all_ = [answer for answer, _ in path]
    steps = tuple(
        GuardStep(
            method=answer.method,
            visual_kept=answer.tokens.visual_kept,
            visual_read_per_step=answer.tokens.visual_read_per_step,
            certainty=score,
            seconds=answer.seconds.prefill + answer.seconds.decode,
        )
        for answer, score in path
    )
    spent = [answer.seconds for answer in all_]
    seconds = Seconds(
        load=final.seconds.load,
        video_decode=sum(each.video_decode for each in spent),
        vision=sum(each.vision for each in spent),
        prefill=sum(each.prefill for each in spent),
        first_token=sum(each.total for each in spent[:-1]) + spent[-1].first_token,
        decode=sum(each.decode for each in spent),
        total=sum(each.total for each in spent),
    )
    flops = Flops(
        prefill=sum(answer.flops.prefill for answer in all_),
        decode=sum(answer.flops.decode for answer in all_),
        uncompressed=final.flops.uncompressed,
    )
    guarded = Guarded(guard.alpha, guard.on_average, guard.threshold, guard.videos, steps)
    return replace(final, seconds=seconds, flops=flops, guard=guarded)
