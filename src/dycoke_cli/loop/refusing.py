"""Refusal of questions outside what the bundled model knows, before torch is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import Answer, ReportedFrames, ReportedModel
from dycoke_cli.ask import Ask, Refuse
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.engine.context import frames_warning
from dycoke_cli.engine.refused_answer import refused_answer
from dycoke_cli.loop.plan import RunPlan, stored_plan
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.files.small_files import read_json
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.models.prompts.vocabulary import mostly_unknown, unknown_words
from dycoke_cli.video.file_names import STDIN

if TYPE_CHECKING:
    from dycoke_cli.video import Clip


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


def refusals(asks: Sequence[Ask], unloaded: UnloadedModel) -> Refuse | None:
    """Makes the answers to questions none of which the bundled model understands.

    Returns:
        The function that makes the answers of such questions; None if the model has to be loaded:
        it is another one, on another device than the CPU, or it may understand a question.
    """
    request = asks[0].request
    generation, source, stored = request.generation, unloaded.source, unloaded.stored
    plain = generation.typed is None and generation.structured is None
    if isinstance(source, str) or source.entry is None or source.entry.repo is not None:
        return None
    on_cpu = Target.of(request.loading.device, this_machine()).device == "cpu"
    if not (on_cpu and plain and request.subtitles is None):
        return None
    # Several videos are shown by the model alone, and stdin can't be read again for it.
    if any(len(ask.videos) != 1 or ask.videos[0].source == STDIN for ask in asks):
        return None
    tokenizer = _Tokenizer(Path(source.location))
    unknown = {ask.question: unknown_words(tokenizer, ask.question) for ask in asks}
    understood = not all(mostly_unknown(question, words) for question, words in unknown.items())
    if understood or stored is None or stored.domain is None:
        return None
    plan = stored_plan(request, source, stored)
    if plan is None:
        return None
    domain = stored.domain

    def refuse(ask: Ask, clip: Clip) -> Answer:
        answer = partial(_answer, plan, domain, clip, ask.question, unknown[ask.question])
        refused = ask.named(answer(plan.request.method))
        if ask.compare:
            plain = replace(ask, request=ask.request.with_method(Method()))
            refused = replace(refused, compared_to=plain.named(answer(BASELINE)))
        return refused

    return refuse


def _answer(
    plan: RunPlan, domain: str, clip: Clip, question: str, unknown: list[str], method: Method
) -> Answer:
    about, times = plan.identity, clip.timestamps_s
    sparse = frames_warning(times)
    return refused_answer(
        question,
        domain,
        unknown,
        ReportedModel(about["name"], about["revision"], about["dtype"], "cpu"),
        method,
        ReportedFrames(len(times), tuple(times)),
        [*clip.warnings, *([sparse] if sparse else ())],
    )
