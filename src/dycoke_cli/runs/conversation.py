"""Interactive questions about one video: `dycoke ask` is one job, in this process.

A pool of decoders and a file of results would only make the first word come later; the frames are
read in a thread while the model loads, and answers are passed on as they are generated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE, BoundMethod
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.context import check_several
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.catalog import published
from dycoke_cli.models.explaining import explain
from dycoke_cli.models.files.hub import first_download
from dycoke_cli.models.files.on_disk import StoredConfig, is_here, stored_config
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.models.resolve import ModelRef, find
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.request import Request
from dycoke_cli.runs.faster_flags import faster_flags
from dycoke_cli.runs.listener import Listener
from dycoke_cli.stock.importing import uncollected
from dycoke_cli.video.pictures import Source, sources
from dycoke_cli.video.subtitles import find_source

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip
    from dycoke_cli.video.decoder import Decoder

T = TypeVar("T")

# Frames, and tokens, of the run before those that are compared: a window of TTM.
_WARM_UP = 4


@dataclass(frozen=True)
class Conversation:
    """All that is chosen before anything is read or loaded.

    Args:
        videos: paths, or - for stdin; several are shown together, but for pictures alone, which
            are the frames of one.
        questions: in the order in which they are asked.
        request: how.
        compare: whether each is asked without compression, too.
        cache: whether the encoded video is kept on disk.
        follow_up: whether each question sees the earlier ones and their answers.
    """

    videos: tuple[str, ...]
    questions: list[str]
    request: Request
    compare: bool = False
    cache: bool = False
    follow_up: bool = False

    @property
    def sources(self) -> tuple[Source, ...]:
        """What each video is read from."""
        return sources(self.videos)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each video: its path, or that of its first picture."""
        return tuple(one if isinstance(one, str) else one[0] for one in self.sources)


def converse(
    conversation: Conversation,
    listener: Listener,
    loaded: LoadedModel | None = None,
    decoders: Sequence[Decoder] = (),
) -> None:
    """Answer all questions; each answer goes to `listener` as it comes and when it is done.

    Args:
        conversation: what is asked.
        listener: hears of it.
        loaded: its model, where that is loaded already.
        decoders: see `open_session`.
    """
    request, questions = conversation.request, conversation.questions
    with advising(request):
        session, method = open_session(
            conversation, listener, loaded, decoders, reuse=len(questions) > 1
        )
        # Before anything runs: a system that has no memory left may kill us without a word.
        if warning := session.memory_warning(max(questions, key=len), method):
            listener.warning(request.advise(warning))
        if conversation.compare:
            listener.stage("warm_up")
            _warm_up(session, request, method)
        history: list[tuple[str, str]] = []
        advice = None
        for question in questions:
            answer = answer_one(session, question, conversation, method, listener, history)
            if advice is None and (advice := faster_flags(answer, request, session.loaded)):
                listener.advise(advice)
            if conversation.follow_up:
                history.append((question, answer.answer))


@contextmanager
def advising(request: Request) -> Iterator[None]:
    """Errors within the block advise in terms of the flags that were given."""
    try:
        yield
    except Exception as error:
        reason = explain(error)
        told = request.advise(str(reason))
        if told == str(reason):
            raise
        raise type(reason)(told) from error


def answer_one(
    session: VideoSession,
    question: str,
    conversation: Conversation,
    method: BoundMethod,
    listener: Listener,
    history: Sequence[tuple[str, str]],
) -> Answer:
    """Answer a question, and again without compression where that is compared.

    Args:
        session: the videos.
        question: plain text.
        conversation: how it is asked.
        method: the conversation's, bound to the model.
        listener: hears of it.
        history: what the model reads before the question.
    """
    request, videos = conversation.request, conversation.names
    listener.begin(question)
    answer = _named(_ask(session, question, request, method, listener.on_text, history), videos)
    if conversation.compare:
        listener.begin_comparison()
        # The same draws, so that all that differs is the compression.
        generation = replace(request.generation, seed=answer.seed)
        plain = replace(request, generation=generation).with_method(Method())
        # The same history as well: that of the answers which were shown.
        other = _ask(session, question, plain, BASELINE, None, history)
        answer = replace(answer, compared_to=_named(other, videos))
    listener.finish(answer)
    return answer


def _named(answer: Answer, videos: Sequence[str]) -> Answer:
    """The answer with the names of its videos, as they were given."""
    if answer.videos is not ABSENT:
        each = zip(answer.videos, videos, strict=True)
        answer = replace(answer, videos=tuple(replace(one, video=name) for one, name in each))
    return replace(answer, video=videos[0])


def _warm_up(session: VideoSession, request: Request, method: BoundMethod) -> None:
    """Answer about a few frames, with and without compression.

    What a process does only once (load kernels, choose algorithms, reserve memory) would else be
    part of the first of two times that are compared. The video of `session` isn't encoded by it.
    """
    clip = cast("Clip", session.clip)
    short = replace(clip, frames=clip.frames[:_WARM_UP], timestamps_s=clip.timestamps_s[:_WARM_UP])
    unmeasured = type(session)(session.loaded, short, reuse=False)
    generation = GenerationOptions(max_new_tokens=_WARM_UP)
    short_one = replace(request, generation=generation)
    _ask(unmeasured, "?", short_one, method, None)
    _ask(unmeasured, "?", short_one.with_method(Method()), BASELINE, None)


def open_session(
    conversation: Conversation,
    listener: Listener,
    loaded: LoadedModel | None = None,
    decoders: Sequence[Decoder] = (),
    *,
    reuse: bool,
) -> tuple[VideoSession, BoundMethod]:
    """Read the videos, and load the model meanwhile.

    Args:
        conversation: which videos, and how they are asked about; its questions don't matter.
        listener: hears of it.
        loaded: the model, where it is loaded already.
        decoders: one for each video, where they were started before; they are ended here.
        reuse: see `VideoSession`.

    Returns:
        The videos with the model, and the request's method bound to it.
    """
    from dycoke_cli.video.decoder import Decoder

    # The cheap checks first: a wrong name costs no decoding, a broken file no loading.
    request = conversation.request
    known = None if loaded else check_request(request, len(conversation.sources), listener)
    source = request.model if known is None else known.source
    sampling = listening(request.sampling, source, request.loading)
    wanted = request.subtitles
    decoders = decoders or [Decoder(request.limits) for _ in conversation.sources]
    started = time.perf_counter()
    with ExitStack() as stack:
        opened = []
        each = zip(conversation.sources, conversation.names, decoders, strict=True)
        for video, name, decoder in each:
            stack.callback(decoder.stop)
            subtitles = None if wanted is None else find_source(name, wanted)
            one = decoder.open(video, sampling, subtitles=subtitles)
            opened.append(stack.enter_context(one))

        def read() -> tuple[list[Clip], float]:
            clips = [one.read(partial(listener.stage, "video")) for one in opened]
            seconds = time.perf_counter() - started
            # From here, for until now the line on the terminal was the video's.
            listener.stage("load" if known is None or known.local else "fetch")
            return clips, seconds

        with beside(read, decoders) as reading:
            # Only here: they import torch and transformers, which takes a while.
            with uncollected():
                from dycoke_cli.engine.session import VideoSession
                from dycoke_cli.engine.visual_cache import VisualCache
                from dycoke_cli.models.load import load
                from dycoke_cli.stock.quiet import silence_libraries

            silence_libraries()
            if reading.done():
                reading.result()  # a video that is known by now to be broken costs no loading
            cache = VisualCache() if conversation.cache else None
            if loaded is None:
                loaded = load(source, **asdict(request.loading))
            # What the model can't serve ends it before the frames are waited for.
            method = bound_to(loaded, request.method, known)
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
    )
    return session, method


@dataclass(frozen=True)
class KnownModel:
    """What is known of a request's model before it is loaded.

    Args:
        source: where its files are; its name alone with random weights.
        local: whether nothing has to be fetched.
        stored: its configuration, where that is on this machine.
        traits: what a method is bound by; None where that is known once it is loaded.
        method: the request's, where it was bound by them.
    """

    source: str | ModelRef
    local: bool
    stored: StoredConfig | None
    traits: ModelTraits | None
    method: BoundMethod | None = None


def check_request(request: Request, videos: int, listener: Listener) -> KnownModel:
    """Refuse what the model can't be asked, before it is loaded.

    Args:
        request: names the model, and how it is asked.
        videos: how many are shown together.
        listener: is told where the model has to be downloaded.

    Returns:
        The model, with the request's method bound to it where its configuration is known.
    """
    known = known_of(request, listener.warning)
    if known.traits is None:
        return known
    if videos > 1 and known.stored is not None:
        check_several(request.model, known.traits.family, known.stored.domain)
    return replace(known, method=bind(request.method, known.traits))


def bound_to(loaded: LoadedModel, method: Method, known: KnownModel | None) -> BoundMethod:
    """A method bound to a model that is loaded.

    Args:
        loaded: the model.
        method: as it was given.
        known: what was known before it was loaded. What was bound by that stays, unless the files
            that were loaded say otherwise (another revision, a newer configuration).
    """
    traits = loaded.traits
    if known is not None and known.method is not None and known.traits == traits:
        return known.method
    return bind(method, traits)


@contextmanager
def beside(read: Callable[[], T], decoders: Sequence[Decoder]) -> Iterator[Future[T]]:
    """Run `read` in a thread of its own; no thread is left behind the block.

    Where the block fails, the video has the first word, as if it had been read before: what is
    wrong with it is raised in place of the block's own error. An interrupt doesn't wait for that.

    Args:
        read: what is to be run; reads from `decoders`.
        decoders: are ended with the block.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="video") as pool:
        try:
            future = pool.submit(read)
            try:
                yield future
            except Exception:
                future.result()
                raise
        finally:
            for decoder in decoders:
                decoder.stop()


def known_of(request: Request, warn: Callable[[str], None]) -> KnownModel:
    """What can be known of a model without torch.

    Args:
        request: names it.
        warn: called where it has to be downloaded.

    Raises:
        ModelError: there is no such model, or it isn't here and the hub can't be reached.
        OutputError: it has to be downloaded, and there is no room for it.
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
    return KnownModel(source, local, stored, traits if traits and traits.listed else None)


def _ask(
    session: VideoSession,
    question: str,
    request: Request,
    method: BoundMethod,
    on_text: Callable[[str], None] | None,
    history: Sequence[tuple[str, str]] = (),
) -> Answer:
    options = asdict(request.generation)
    if request.guard is not None:
        from dycoke_cli.engine.ask_together import Question
        from dycoke_cli.guard.asking import ask_guarded

        asked = [Question(session, question, tuple(history))]
        return request.noted(ask_guarded(asked, request.guard, request.generation, on_text)[0])
    answer = session.ask(question, method, on_text=on_text, history=tuple(history), **options)
    return request.noted(answer)
