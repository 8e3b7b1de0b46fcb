"""Interactive questions about one video, in this process (`dycoke ask`, `dycoke chat`).

Optimized for the time to the first word, unlike a run of many jobs: the frames are decoded while
the model loads, and answers are streamed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.context import check_context, check_several, room_for_video
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.catalog import published
from dycoke_cli.models.explaining import explain
from dycoke_cli.models.files.hub import first_download
from dycoke_cli.models.files.on_disk import StoredConfig, is_here, stored_config
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.models.reference import ModelRef, find
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.request import Request
from dycoke_cli.runs.faster_flags import faster_flags
from dycoke_cli.runs.in_windows import read_in_windows, reads_in_windows, windows_for
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.refusing import refusals, refuse
from dycoke_cli.stock.importing import uncollected
from dycoke_cli.video.frame_windows import ClosedError, WindowQueue
from dycoke_cli.video.kept_frames import Fit, known
from dycoke_cli.video.pictures import Source, sources
from dycoke_cli.video.subtitles import find_source

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.prompts.frame_tokens import ClipTokens
    from dycoke_cli.video import Clip, Plan
    from dycoke_cli.video.decoder import Decoder

T = TypeVar("T")

# Frames and new tokens of the warm-up run: one window of TTM, so that its kernels run as well.
_WARM_UP = 4


@dataclass(frozen=True)
class Conversation:
    """Videos, questions and options, before anything is read or loaded.

    Args:
        videos: paths, or - for stdin. Several videos are shown together; several pictures are the
            frames of one video.
        questions: in the order in which they are asked.
        request: how they are asked.
        compare: whether each is also asked without compression.
        cache: whether the encoded video is cached on disk.
        follow_up: whether each question sees the earlier ones and their answers.
        part_s: start and end of the part of the video that the answers are labelled with; None for
            no label. The part itself is sampled by `request`.
        dropped: number of parts of a live source that were skipped before this one; else None.
    """

    videos: tuple[str, ...]
    questions: list[str]
    request: Request
    compare: bool = False
    cache: bool = False
    follow_up: bool = False
    part_s: tuple[float, float] | None = None
    dropped: int | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Source of each video: a path, or the paths of its pictures."""
        return sources(self.videos)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each video: its path, or that of its first picture."""
        return tuple(one if isinstance(one, str) else one[0] for one in self.sources)


def converse(
    conversation: Conversation,
    listener: Listener,
    loaded: LoadedModel | None = None,
    decoders: Sequence[Decoder] = (),
) -> None:
    """Answer all questions; each answer is streamed to `listener` and sent to it when complete.

    Args:
        conversation: videos and questions.
        listener: receives progress and answers.
        loaded: the model, if it is loaded already.
        decoders: see `open_session`.
    """
    with advising(conversation.request):
        if loaded is None and _refused(conversation, listener, decoders):
            return
        session, method = open_session(
            conversation, listener, loaded, decoders, reuse=len(conversation.questions) > 1
        )
        answer_each(session, conversation, method, listener)


def answer_each(
    session: VideoSession,
    conversation: Conversation,
    method: BoundMethod,
    listener: Listener,
    *,
    first: bool = True,
) -> list[Answer]:
    """Answer all questions of a conversation, in order.

    Args:
        session: the videos.
        conversation: questions and options.
        method: the conversation's, bound to the model.
        listener: receives progress and answers.
        first: whether these are the first answers of this process. Only then are the memory
            checked, a comparison warmed up and faster flags advised.
    """
    request, questions = conversation.request, conversation.questions
    if first:
        # Before anything runs: a system without free memory kills a process without an error. The
        # longest question needs the most.
        if warning := session.memory_warning(max(questions, key=len), method):
            listener.warning(request.advise(warning))
        if conversation.compare:
            # Else the first of the two timings would include what a process does only once.
            listener.stage("warm_up")
            _warm_up(session, request, method)
    history: list[tuple[str, str]] = []
    answers: list[Answer] = []
    advice = None
    for question in questions:
        answer = answer_one(session, question, conversation, method, listener, history)
        answers.append(answer)
        if first and advice is None and (advice := faster_flags(answer, request, session.loaded)):
            listener.advise(advice)
        if conversation.follow_up:
            history.append((question, answer.answer))
    return answers


def _refused(conversation: Conversation, listener: Listener, decoders: Sequence[Decoder]) -> bool:
    """Answer without the model if it understands none of the questions; whether that was so."""
    if len(conversation.sources) > 1:
        return False
    from dycoke_cli.video.decoder import Decoder

    request, (video,), (name,) = conversation.request, conversation.sources, conversation.names
    decoder = decoders[0] if decoders else Decoder(request.limits)
    answers = refusals(request, conversation.questions, video, listener, decoder)
    if answers is None:
        return False
    refuse(answers, name, conversation.compare, listener)
    return True


@contextmanager
def advising(request: Request) -> Iterator[None]:
    """Rewrite the advice in errors of the block for the flags that were given."""
    try:
        yield
    except Exception as error:
        reason = explain(error)
        advice = request.advise(str(reason))
        if advice == str(reason):
            raise
        raise type(reason)(advice) from error


def answer_one(
    session: VideoSession,
    question: str,
    conversation: Conversation,
    method: BoundMethod,
    listener: Listener,
    history: Sequence[tuple[str, str]],
) -> Answer:
    """Answer a question; with `compare`, answer it again without compression.

    Args:
        session: the videos.
        question: plain text.
        conversation: how it is asked.
        method: the conversation's, bound to the model.
        listener: receives progress and the answer.
        history: earlier questions with their answers, which the model reads first.
    """
    request = conversation.request
    listener.begin(question)
    answer = ask_once(session, question, request, method, listener.on_text, history)
    answer = _named(answer, conversation)
    if conversation.compare:
        listener.begin_comparison()
        # With the same sampling seed, so that only the compression differs.
        generation = replace(request.generation, seed=answer.seed)
        plain = replace(request, generation=generation).with_method(Method())
        # And with the same history, that of the answers which were shown: with its own earlier
        # answers, the baseline would answer another question.
        other = ask_once(session, question, plain, BASELINE, None, history)
        answer = replace(answer, compared_to=_named(other, conversation))
    listener.finish(answer)
    return answer


def _named(answer: Answer, conversation: Conversation) -> Answer:
    """The answer with the names of its videos, as they were given, and the part of the video."""
    videos = conversation.names
    if conversation.part_s is not None:
        start, end = conversation.part_s
        answer = replace(answer, start=start, end=end)
    if conversation.dropped is not None:
        answer = replace(answer, dropped=conversation.dropped)
    if answer.videos is not ABSENT:
        each = zip(answer.videos, videos, strict=True)
        answer = replace(answer, videos=tuple(replace(one, video=name) for one, name in each))
    return replace(answer, video=videos[0])


def _warm_up(session: VideoSession, request: Request, method: BoundMethod) -> None:
    """Answer about a few frames, with and without compression, before two timings are compared.

    A process loads kernels, selects algorithms and reserves memory only once. The video of
    `session` isn't encoded by this, so that its own encoding is measured.
    """
    clip = cast("Clip", session.clip)
    # Without their resize: of so few frames, a processor may make larger ones.
    short = replace(
        clip,
        frames=clip.frames[:_WARM_UP],
        timestamps_s=clip.timestamps_s[:_WARM_UP],
        resize=None,
    )
    unmeasured = type(session)(session.loaded, short, reuse=False)
    generation = GenerationOptions(max_new_tokens=_WARM_UP)
    short_one = replace(request, generation=generation)
    ask_once(unmeasured, "?", short_one, method, None)
    ask_once(unmeasured, "?", short_one.with_method(Method()), BASELINE, None)


def open_session(
    conversation: Conversation,
    listener: Listener,
    loaded: LoadedModel | None = None,
    decoders: Sequence[Decoder] = (),
    *,
    reuse: bool,
    decoded: bool = False,
) -> tuple[VideoSession, BoundMethod]:
    """Decode the videos while the model loads.

    Args:
        conversation: videos and request; its questions aren't used.
        listener: receives progress.
        loaded: the model, if it is loaded already.
        decoders: one for each video, if they were started before; they are stopped here.
        reuse: see `VideoSession`.
        decoded: whether frames are kept as they are decoded, to be shown.

    Returns:
        The videos with the model, and the request's method bound to it.
    """
    from dycoke_cli.video.decoder import Decoder

    # Cheap checks first: a misspelt model name costs no decoding, a broken video no loading.
    request = conversation.request
    unloaded = None if loaded else check_request(request, len(conversation.sources), listener)
    source = request.model if unloaded is None else unloaded.source
    sampling = listening(request.sampling, source, request.loading)
    wanted = request.subtitles
    decoders = decoders or [Decoder(request.limits) for _ in conversation.sources]
    fit = None if decoded else Future[Fit]() if loaded is None else known(loaded.fit)
    # Frames of a family outside the table are kept as decoded; that limits their number.
    fitted = fit is not None and (unloaded is None or unloaded.traits is not None)
    started = time.perf_counter()
    with ExitStack() as stack:
        opened = []
        each = zip(conversation.sources, conversation.names, decoders, strict=True)
        for video, name, decoder in each:
            stack.callback(decoder.stop)
            subtitles = None if wanted is None else find_source(name, wanted)
            one = decoder.open(video, sampling, subtitles=subtitles, fitted=fitted)
            opened.append(stack.enter_context(one))

        def check_whole(plan: Plan) -> None:
            if unloaded is not None:
                check_plan(unloaded, plan, None, request.generation.max_new_tokens)

        plans = [one.plan for one in opened]
        windows = windows_for(request, plans, check_whole, whole=decoded or conversation.compare)
        if windows is not None and unloaded is not None:
            check_room(unloaded, plans[0], request.generation.max_new_tokens)
        unasked: tuple[str, ...] = ()
        if windows is not None and not request.is_in_windows:
            unasked = (reads_in_windows(len(plans[0].times_s), windows),)
            listener.warning(*unasked)

        def on_frame(done: int, total: int) -> None:
            if windows is None or not windows.began:  # from then on encoding is shown
                listener.stage("video", done, total)

        def read() -> tuple[list[Clip], float]:
            try:
                clips = [one.read(on_frame, fit, windows) for one in opened]
            finally:
                if windows is not None:
                    windows.end()
            seconds = time.perf_counter() - started
            # Reported from this thread: until now the terminal's one line showed the decoding.
            if windows is None or not windows.began:
                listener.stage("load" if unloaded is None or unloaded.local else "fetch")
            return clips, seconds

        with background_read(read, decoders, fit, windows) as reading:
            # Imported here: torch and transformers take seconds, while the decoders work.
            with uncollected():
                from dycoke_cli.engine.session import VideoSession
                from dycoke_cli.engine.visual_cache import VisualCache
                from dycoke_cli.models.load import load
                from dycoke_cli.stock.quiet import silence_libraries

            silence_libraries()
            if reading.done():
                reading.result()  # raises, if the video is broken, before the model is loaded
            cache = VisualCache() if conversation.cache else None
            if loaded is None:
                loaded = load(source, on_stage=listener.stage, fit=fit, **asdict(request.loading))
                if fit is not None and not fit.done():
                    fit.set_result(loaded.fit)
            # A method that the loaded model doesn't support is refused before waiting for frames.
            several = windows is not None and windows.several(len(plans[0].times_s))
            method = bind_loaded(loaded, request.method, unloaded, in_windows=several)
            windowed = None
            if windows is not None:
                windowed = read_in_windows(
                    loaded, method, plans[0], windows, request, listener, cache
                )
                windowed = replace(windowed, warnings=(*unasked, *windowed.warnings))
            (clip, *others), seconds_video_decode = reading.result()
    session = VideoSession(
        loaded,
        clip,
        on_progress=listener.stage,
        others=others,
        seconds_load=loaded.seconds_load,
        seconds_video_decode=seconds_video_decode,
        reuse=reuse,
        cache=cache,
        windowed=windowed,
    )
    return session, method


@dataclass(frozen=True)
class UnloadedModel:
    """Model of a request before it is loaded, as far as its files tell.

    Args:
        source: reference to its files; with random weights its name.
        local: whether nothing has to be downloaded.
        stored: its configuration, if that is on this machine.
        traits: traits that a method is bound by; None if they are known only once it is loaded.
        method: the request's method bound by them, or None.
    """

    source: str | ModelRef
    local: bool
    stored: StoredConfig | None
    traits: ModelTraits | None
    method: BoundMethod | None = None


def check_request(request: Request, videos: int, listener: Listener) -> UnloadedModel:
    """Refuse a request that the model doesn't support, before it is loaded.

    Args:
        request: names the model and the options.
        videos: number of videos that are shown together.
        listener: receives a warning if the model has to be downloaded.

    Returns:
        The model, with the request's method bound to it if its configuration is known.
    """
    unloaded = unloaded_model(request, listener.warning)
    if unloaded.traits is None:
        return unloaded
    if videos > 1 and unloaded.stored is not None:
        check_several(request.model, unloaded.traits.family, unloaded.stored.domain)
    return replace(unloaded, method=bind(request.method, unloaded.traits))


def check_plan(
    unloaded: UnloadedModel, plan: Plan, method: BoundMethod | None, max_new_tokens: int
) -> None:
    """Refuse frames that can't fit into the model's context, before they are decoded.

    Only what is certain without the model counts: the visual tokens of its catalog entry. Whether
    the whole prompt fits is checked once the model is loaded.

    Args:
        unloaded: the model.
        plan: frames of one video.
        method: bound to the model; None for that of the model's request.
        max_new_tokens: of the answer.

    Raises:
        UsageError: they can't fit; with the flags that help.
    """
    method, known = method or unloaded.method, _tokens_of(unloaded, plan)
    if known is not None and method is not None:
        context, count, clip = known
        check_context(context, clip, count, method, clip.text, max_new_tokens)


def check_room(unloaded: UnloadedModel, plan: Plan, max_new_tokens: int) -> None:
    """Refuse windows of a video for which an answer leaves no room, before they are decoded.

    Only what is certain counts, as in `check_plan`.

    Args: as of `check_plan`.

    Raises:
        UsageError: there is no room; with what could be set.
    """
    known = _tokens_of(unloaded, plan)
    if known is not None:
        context, _, clip = known
        room_for_video(context, clip.text, max_new_tokens)


def _tokens_of(unloaded: UnloadedModel, plan: Plan) -> tuple[int, int, ClipTokens] | None:
    """A model's context, the frames of a plan and their tokens; None where they aren't known."""
    entry = unloaded.source.entry if isinstance(unloaded.source, ModelRef) else None
    context = unloaded.stored and unloaded.stored.text.get("max_position_embeddings")
    # At a variable rate, two wanted times may be those of one frame, which is read once.
    if entry is None or not context or plan.info.variable_rate:
        return None
    count = min(len(plan.times_s), plan.info.frame_count or len(plan.times_s))
    clip = entry.clip_tokens(count, plan.height, plan.width)
    return None if clip is None else (context, count, clip)


def bind_loaded(
    loaded: LoadedModel,
    method: Method,
    unloaded: UnloadedModel | None,
    *,
    in_windows: bool = False,
) -> BoundMethod:
    """Bind a method to a loaded model.

    Args:
        loaded: the model.
        method: as the user gave it.
        unloaded: the model as it was known before loading. Its bound method is used, unless the
            loaded files differ (another revision, a newer configuration).
        in_windows: whether it selects from several windows; see `ModelTraits.in_windows`.
    """
    traits = loaded.traits
    if in_windows:
        return bind(method, traits.in_windows)
    if unloaded is not None and unloaded.method is not None and unloaded.traits == traits:
        return bind(unloaded.method, traits)
    return bind(method, traits)


@contextmanager
def background_read(
    read: Callable[[], T],
    decoders: Sequence[Decoder],
    fit: Future[Fit] | None = None,
    windows: WindowQueue | None = None,
) -> Iterator[Future[T]]:
    """Run `read` in a background thread, which ends with the block.

    If both the block and `read` fail, the error of `read` is raised, as if the video had been read
    first: the same broken video gives the same error however fast the model loads.

    Args:
        read: runs in the thread, and reads from `decoders`.
        decoders: stopped at the end of the block.
        fit: that `read` may wait for; if the block fails before it is known, so does `read`.
        windows: that `read` may wait for the block to take.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="video") as pool:
        try:
            future = pool.submit(read)
            try:
                yield future
            except Exception as error:
                if fit is not None and not fit.done():
                    fit.set_exception(error)
                if windows is not None:
                    windows.close()
                with suppress(ClosedError):
                    future.result()
                raise
        finally:
            if windows is not None:
                windows.close()
            if fit is not None:  # after an interrupt nobody sets it
                fit.cancel()
            # Ends `read` as well: after an interrupt the pool would wait for the whole video.
            for decoder in decoders:
                decoder.stop()


def unloaded_model(request: Request, warn: Callable[[str], None]) -> UnloadedModel:
    """Find a request's model and read its configuration, without torch.

    Args:
        request: names it.
        warn: called if it has to be downloaded.

    Raises:
        ModelError: there is no such model, or it has to be downloaded and the hub can't be reached.
        OutputError: it has to be downloaded, and the disk has no room for it.
    """
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


def ask_once(
    session: VideoSession,
    question: str,
    request: Request,
    method: BoundMethod,
    on_text: Callable[[str], None] | None,
    history: Sequence[tuple[str, str]] = (),
) -> Answer:
    """Answer a question by a request's options; the answer has the request's cautions.

    Args:
        session: the videos.
        question: plain text.
        request: generation options, and the guard if there is one.
        method: bound to the model.
        on_text: called with each stretch of the answer as it is generated.
        history: earlier questions with their answers, which the model reads first.
    """
    if request.guard is not None:
        from dycoke_cli.engine.ask_together import Question
        from dycoke_cli.guard.asking import ask_guarded

        session.expect(bind(step, session.loaded.traits) for step in request.guard.steps)
        asked = [Question(session, question, tuple(history))]
        return request.noted(ask_guarded(asked, request.guard, request.generation, on_text)[0])
    options = vars(request.generation)
    answer = session.ask(question, method, on_text=on_text, history=tuple(history), **options)
    return request.noted(answer)
