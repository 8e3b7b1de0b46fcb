"""Answering under a guard: the budget grows until the answer is certain enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from dycoke_cli.answer.answer import Answer, Flops, Guarded, GuardStep, Seconds
from dycoke_cli.answer.json_schema import Absent
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
    """Answer questions, each at increasing budgets until it is certain enough; see `ask_together`.

    The certainty of an answer in words is the smallest probability of its tokens; that of a choice
    is its margin.
    Times and FLOPs are sums over all budgets that were tried; everything else is of the last one.

    Args: see `ask_together`. `on_text` gets an answer whole, when its certainty is known; the
        questions have no receivers.
    """
    answers: dict[int, Answer] = {}
    paths: dict[int, list[tuple[Answer, float | None]]] = {n: [] for n in range(len(questions))}
    pending = list(paths)
    for number, method in enumerate(guard.steps):
        last = number == len(guard.steps) - 1
        # The last step keeps all tokens: nothing would follow, whatever its certainty.
        in_words = not last and options.typed is None
        observers = {n: CertaintyObserver() for n in pending} if in_words else {}
        asked = [questions[n] for n in pending]
        answered = ask_together(asked, method, options, [*observers.values()])
        retried = []
        for n, answer in zip(pending, answered, strict=True):
            if answer.refused:
                answers[n] = answer
                continue
            score = None
            if n in observers:
                score = observers[n].certainty(0, answer.tokens.generated).least_probability
            elif not last and not isinstance(answer.margin, Absent):
                score = answer.margin
            paths[n].append((answer, score))
            if score is not None and guard.threshold is not None and score < guard.threshold:
                retried.append(n)
            else:
                answers[n] = _with_path(guard, paths[n])
        pending = retried
        if not pending:
            break
    if on_text is not None:
        on_text(answers[0].answer)
    return [answers[n] for n in paths]


def _with_path(guard: Guard, path: Sequence[tuple[Answer, float | None]]) -> Answer:
    final, _ = path[-1]
    attempts = [answer for answer, _ in path]
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
    spent = [answer.seconds for answer in attempts]
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
        prefill=sum(answer.flops.prefill for answer in attempts),
        decode=sum(answer.flops.decode for answer in attempts),
        uncompressed=final.flops.uncompressed,
    )
    guarded = Guarded(guard.alpha, guard.on_average, guard.threshold, guard.videos, steps)
    return replace(final, seconds=seconds, flops=flops, guard=guarded)
