"""Refusal of questions outside what the bundled model knows, before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import Answer, Frames, Model
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.engine.context import frames_warning
from dycoke_cli.engine.refused_answer import refused_answer
from dycoke_cli.models.files.on_disk import stored_config
from dycoke_cli.models.files.small_files import read_json
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.models.prompts.vocabulary import mostly_unknown, unknown_words
from dycoke_cli.models.reference import find
from dycoke_cli.request import Request
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.plan import Plan, stored_plan

if TYPE_CHECKING:
    from dycoke_cli.video import Clip
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.pictures import Source


class _Tokenizer:
    """The stored tokenizer, as far as `unknown_words` needs it."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        unknown = read_json(folder / "tokenizer_config.json")["unk_token"]
        self.unk_token_id = self._tokenizer.token_to_id(unknown)

    def __call__(self, words: Sequence[str], add_special_tokens: bool) -> dict[str, Any]:
        encoded = self._tokenizer.encode_batch([*words], add_special_tokens=add_special_tokens)
        return {"input_ids": [one.ids for one in encoded]}


def refusals(
    request: Request,
    questions: Sequence[str],
    video: Source,
    listener: Listener,
    decoder: Decoder,
) -> list[tuple[Answer, Answer]] | None:
    """The answers to questions that the bundled model is asked and none of which it understands.

    Args:
        request: how they are asked.
        questions: all of them.
        video: that they are about; it is decoded.
        listener: receives progress.
        decoder: reads the video.

    Returns:
        Each answer, and that of the baseline; None if the model has to be loaded: it is another
        one, on another device than the CPU, or it may understand a question.

    Raises:
        VideoError: the video can't be read.
    """
    generation = request.generation
    source, plain = find(request.model), generation.typed is None and generation.structured is None
    if source.entry is None or source.entry.repo is not None or request.loading.random_weights:
        return None
    on_cpu = Target.of(request.loading.device, None, this_machine()).device == "cpu"
    if not (on_cpu and plain and request.subtitles is None and request.guard is None):
        return None
    tokenizer, stored = _Tokenizer(Path(source.location)), stored_config(source)
    unknown = [unknown_words(tokenizer, question) for question in questions]
    understood = not all(map(mostly_unknown, questions, unknown))
    if understood or stored is None or stored.domain is None:
        return None
    plan = stored_plan(request)
    if plan is None:
        return None
    with ExitStack() as stack:
        stack.callback(decoder.stop)
        opened = stack.enter_context(decoder.open(video, plan.sampling, fitted=True))
        clip = opened.read(partial(listener.stage, "video"), None)
    answer = partial(_answer, plan, stored.domain, clip)
    both = zip(questions, unknown, strict=True)
    methods = BoundMethod(plan.method), BASELINE
    return [
        (
            request.noted(answer(question, words, methods[0])),
            request.with_method(Method()).noted(answer(question, words, methods[1])),
        )
        for question, words in both
    ]


def _answer(
    plan: Plan, domain: str, clip: Clip, question: str, unknown: list[str], method: BoundMethod
) -> Answer:
    about, times = plan.identity, clip.timestamps_s
    sparse = frames_warning(times)
    return refused_answer(
        question,
        domain,
        unknown,
        Model(about["name"], about["revision"], about["dtype"], "cpu"),
        method,
        Frames(len(times), tuple(times)),
        [*clip.warnings, *([sparse] if sparse else ())],
    )


def refuse(
    answers: Sequence[tuple[Answer, Answer]], videos: str, compare: bool, listener: Listener
) -> None:
    """Show refusals as answers of the model are shown.

    Args:
        answers: of `refusals`.
        videos: name of the video.
        compare: whether the baseline's answers are wanted, too.
        listener: receives them.
    """
    for answer, baseline in answers:
        listener.begin(answer.question)
        shown = replace(answer, video=videos)
        if listener.on_text is not None:
            listener.on_text(answer.answer)
        if compare:
            listener.begin_comparison()
            shown = replace(shown, compared_to=replace(baseline, video=videos))
        listener.finish(shown)
