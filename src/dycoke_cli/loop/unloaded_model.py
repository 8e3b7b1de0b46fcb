"""A request's model before it is loaded: what its files tell, and what is refused by that.

Without torch, whose import takes seconds, and before a video is decoded. Questions outside what the
bundled model knows are refused here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.answer import Answer, ReportedFrames, ReportedModel
from dycoke_cli.ask import Ask, Refuse
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.engine.context import check_context, check_several, frames_warning, room_for_video
from dycoke_cli.engine.refused_answer import refused_answer
from dycoke_cli.engine.settling import settled
from dycoke_cli.loop.plan import RunPlan, stored_plan
from dycoke_cli.models.catalog import ModelRef, find, published
from dycoke_cli.models.files.hub import first_download
from dycoke_cli.models.files.on_disk import StoredConfig, is_here, stored_config
from dycoke_cli.models.files.small_files import read_json
from dycoke_cli.models.free_memory import Target, this_machine
from dycoke_cli.models.prompts.vocabulary import mostly_unknown, unknown_words
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.request import Request
from dycoke_cli.video.file_names import STDIN

if TYPE_CHECKING:
    from dycoke_cli.models.prompts.frame_tokens import ClipTokens
    from dycoke_cli.video import Clip, FramePlan


@dataclass(frozen=True)
class UnloadedModel:
    """Model of a request before it is loaded, as far as its files tell."""

    source: str | ModelRef  # reference to its files; with random weights its name
    local: bool  # whether nothing has to be downloaded
    stored: StoredConfig | None  # its configuration, if that is on this machine
    # for which a method is settled; None if they are known only once it is loaded
    traits: ModelTraits | None

    def check(self, request: Request, videos: int) -> None:
        """Refuse a request that the model doesn't support."""
        if self.traits is None:
            return
        if videos > 1 and self.stored is not None:
            check_several(request.model, self.traits.family, self.stored.domain)
        settled(request.method, self.traits)

    def check_plan(self, plan: FramePlan, method: Method, max_new_tokens: int) -> None:
        """Refuse frames that can't fit into the model's context, before they are decoded.

        Only what is certain without the model counts: the visual tokens of its catalog entry.
        Whether the whole prompt fits is checked once the model is loaded.
        """
        known = self._tokens_of(plan)
        if known is not None and self.traits is not None:
            context, count, clip = known
            method = settled(method, self.traits)
            check_context(context, clip, count, method, clip.text, max_new_tokens)

    def check_room(self, plan: FramePlan, max_new_tokens: int) -> None:
        """Refuse windows of a video for which an answer leaves no room, before they are decoded.

        Args: as of `check_plan`.
        """
        known = self._tokens_of(plan)
        if known is not None:
            context, _, clip = known
            room_for_video(context, clip.text, max_new_tokens)

    def _tokens_of(self, plan: FramePlan) -> tuple[int, int, ClipTokens] | None:
        """The context, the frames of a plan and their tokens; None where they aren't known."""
        entry = self.source.entry if isinstance(self.source, ModelRef) else None
        context = self.stored and self.stored.text.get("max_position_embeddings")
        # At a variable rate, two wanted times may be those of one frame, which is read once.
        if entry is None or not context or plan.info.variable_rate:
            return None
        count = min(len(plan.times_s), plan.info.frame_count or len(plan.times_s))
        clip = entry.clip_tokens(count, plan.height, plan.width)
        return None if clip is None else (context, count, clip)


def unloaded_model(request: Request, warn: Callable[[str], None]) -> UnloadedModel:
    """Find a request's model and read its configuration, without torch."""
    source: str | ModelRef = request.model
    stored: StoredConfig | None
    if request.loading.random_weights:
        local, stored = True, StoredConfig(published(request.model).config)
    else:
        source = find(request.model)
        local = source.local or is_here(source)
        if not local:
            planned = first_download(source)
            gigabytes = f"{planned.missing_bytes / 1e9:.1f} GB"
            warn(
                f"{source.name} isn't on this machine yet: {gigabytes} are downloaded first "
                f"(`dycoke models pull {source.name}` does so ahead of time)"
            )
        stored = stored_config(source)
    traits = None if stored is None else stored.traits(request.model)
    return UnloadedModel(source, local, stored, traits if traits and traits.listed else None)


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
