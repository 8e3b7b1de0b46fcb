"""A conversation about videos (`dycoke ask`, `dycoke chat`), and how it is opened in this process.

Optimized for the time to the first word, unlike a run of many jobs: the frames are decoded while
the model loads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.models.prompts.audio_rate import listening
from dycoke_cli.request import Request
from dycoke_cli.runs.in_windows import read_in_windows, reads_in_windows, windows_for
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.unloaded_model import bind_loaded, check_plan, check_request, check_room
from dycoke_cli.stock.importing import faster_imports
from dycoke_cli.video.frame_windows import ClosedError, WindowQueue
from dycoke_cli.video.kept_frames import Fit, known
from dycoke_cli.video.pictures import Source, sources
from dycoke_cli.video.subtitles import find_source

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.video import Clip, Plan
    from dycoke_cli.video.decoder import Decoder

T = TypeVar("T")


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
    # Also where the model is loaded: another video, or part of it, may not fit the context.
    unloaded = check_request(request, len(conversation.sources), listener)
    source = unloaded.source
    sampling = listening(request.sampling, source, request.loading)
    wanted = request.subtitles
    decoders = decoders or [Decoder(request.limits) for _ in conversation.sources]
    fit = None if decoded else Future[Fit]() if loaded is None else known(loaded.fit)
    # Frames of a family outside the table are kept as decoded; that limits their number.
    fitted = fit is not None and unloaded.traits is not None
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
            check_plan(unloaded, plan, None, request.generation.max_new_tokens)

        plans = [one.plan for one in opened]
        windows = windows_for(request, plans, check_whole, whole=decoded or conversation.compare)
        if windows is not None:
            check_room(unloaded, plans[0], request.generation.max_new_tokens)
        unasked: tuple[str, ...] = ()
        if windows is not None and request.max_tokens is None:
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
                listener.stage("load" if unloaded.local else "fetch")
            return clips, seconds

        with background_read(read, decoders, fit, windows) as reading:
            # Imported here: torch and transformers take seconds, while the decoders work.
            with faster_imports():
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
                    loaded,
                    method,
                    plans[0],
                    windows,
                    request,
                    cache,
                    partial(listener.stage, "vision"),
                    listener.note,
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
