"""The one thread that runs the model: it answers waiting tasks, in batches if possible.

Tasks with the same method about new videos of equal shape are one batch, whether they stream or
not. Each answer of a batch ends by itself. A question about a cached video is answered alone. A
task that arrives while a batch is answered waits for the next one.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from dycoke_cli.answer.answer import Answer
from dycoke_cli.engine.generation_options import LARGEST_SEED, GenerationOptions
from dycoke_cli.errors import DycokeError, OutOfMemoryError
from dycoke_cli.runs.in_windows import read_clip_in_windows
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.inspecting import InspectionResult, inspected
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.server.task import Task
from dycoke_cli.video.kept_frames import Fit, known

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession
    from dycoke_cli.engine.visual_cache import VisualCache
    from dycoke_cli.engine.windowed_video import WindowedVideo
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.traits import ModelTraits
    from dycoke_cli.video import Clip

T = TypeVar("T")

_MOST_TOGETHER = 8
_POLL_S = 1.0
_ENDING_S = 1.0


def _generations(request: ChatRequest) -> list[GenerationOptions]:
    """How each answer of a request is generated: by a seed of its own."""
    options = request.generation
    if options.seed is None:
        return [options] * request.answers
    seeds = range(options.seed, options.seed + request.answers)
    return [replace(options, seed=seed % (LARGEST_SEED + 1)) for seed in seeds]


class _CancelledError(DycokeError):
    """All clients of the batch have gone; ends its generation."""


class EngineThread:
    """Answers tasks, one batch after the other.

    Args:
        load: loads the model; called anew once it was unloaded.
        loaded: the model, which was loaded to see that it can be.
        sessions: encoded videos, by what was read.
        metrics: counts.
        cache: of encoded videos on disk, or None.
    """

    def __init__(
        self,
        load: Callable[[], LoadedModel],
        loaded: LoadedModel,
        sessions: SessionCache,
        metrics: Metrics,
        cache: VisualCache | None = None,
    ) -> None:
        self._load, self._loaded, self._traits = load, loaded, loaded.traits
        self._sessions, self._metrics, self._cache = sessions, metrics, cache
        self._waiting: deque[Task | Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._busy, self._busy_since = False, time.monotonic()
        self._occupied = 0
        self._current: Sequence[Task] = ()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        metrics.set("model_loaded", 1)

    @property
    def traits(self) -> ModelTraits:
        """Traits of the model, which stay the same while it is unloaded."""
        return self._traits

    @property
    def fit(self) -> Future[Fit] | None:
        """Resize of frames to the size that the model reads; None while it is unloaded."""
        loaded: LoadedModel | None = self._loaded
        return None if loaded is None else known(loaded.fit)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def submit(self, task: Task | Callable[[], None]) -> None:
        """Let a task wait for its turn; or a function, which is called in the thread."""
        with self._changed:
            self._waiting.append(task)
            self._changed.notify()

    def call(self, work: Callable[[LoadedModel], T]) -> T:
        """Have a function called with the model, when it is its turn; wait for what it returns.

        Raises:
            Exception: what it raises, or loading the model where that was unloaded.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work(self._model()))
            except BaseException as error:
                done.set_exception(error)

        self.submit(run)
        return done.result()

    @contextmanager
    def occupied(self) -> Iterator[None]:
        """Count as busy within the block, even while nothing is in the thread: see `idle_s`."""
        with self._changed:
            self._occupied += 1
        try:
            yield
        finally:
            with self._changed:
                self._occupied -= 1
                self._busy_since = time.monotonic()

    def stop(self) -> None:
        """End what is under way, and the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        for task in self._current:  # ends their generation at the next token
            task.cancelled.set()
        self._thread.join(timeout=_ENDING_S)

    @property
    def idle_s(self) -> float:
        """Seconds since it last had something to do; 0 while it has."""
        with self._changed:
            if self._waiting or self._busy or self._occupied:
                return 0.0
            return time.monotonic() - self._busy_since

    def unload(self) -> None:
        """Free the model and all videos until the next task."""

        # In the engine's thread, so that no task is using the model.
        def release() -> None:
            self._loaded = None  # type: ignore[assignment]
            self._sessions.clear()
            gc.collect()
            self._metrics.set("model_loaded", 0)

        if self._loaded is not None:
            self.submit(release)

    def _run(self) -> None:
        while not self._stopping:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(_POLL_S)
                    continue
                batch = self._take()
            try:
                self._do(batch)
            except BaseException as error:  # fails its requests; the thread serves the next ones
                for task in batch if isinstance(batch, list) else ():
                    if not task.ended:
                        task.deliver(error)
            finally:
                self._current, self._busy = (), False
                self._busy_since = time.monotonic()

    def _take(self) -> list[Task] | Callable[[], None]:
        first, self._busy = self._waiting.popleft(), True
        if not isinstance(first, Task):
            return first
        batch = [first]
        # A stock processor makes the prompts of a found layout one by one: a batch of these would
        # have the first client wait for the last one's answer.
        if (group := first.group) is not None and not self._traits.family.stock_inputs:
            for other in [*self._waiting]:
                if len(batch) == _MOST_TOGETHER:
                    break
                if isinstance(other, Task) and other.group == group:
                    self._waiting.remove(other)
                    batch.append(other)
        self._current = batch
        return batch

    def _do(self, batch: list[Task] | Callable[[], None]) -> None:
        if not isinstance(batch, list):
            batch()
            return
        for task in batch:
            self._metrics.observe("wait_seconds", time.monotonic() - task.since)
        began = time.monotonic()
        try:
            self._answer([task for task in batch if not task.cancelled.is_set()])
        finally:
            for _ in batch:
                self._metrics.observe("answer_seconds", (time.monotonic() - began) / len(batch))

    def _model(self) -> LoadedModel:
        if self._loaded is None:
            self._loaded = self._load()
            self._metrics.set("model_loaded", 1)
        return self._loaded

    def _answer(self, batch: list[Task]) -> None:
        if not batch:
            return
        try:
            self._ask(batch)
        except _CancelledError:
            return
        except Exception as error:
            # Cached videos may take the memory that is missing: without them, once more. A batch
            # that fails is divided, so that one bad request doesn't fail the others.
            freed = isinstance(error, OutOfMemoryError) and self._sessions.clear()
            again = len(batch) > 1 or freed
            for task in batch:
                if task.ended:
                    continue
                if again and not task.has_text:
                    self._answer([task])
                else:
                    task.deliver(error)

    def _ask(self, batch: list[Task]) -> None:
        from dycoke_cli.engine.answer_stream import Receiver
        from dycoke_cli.engine.ask_together import Question, ask_together, ask_without_video

        loaded, first = self._model(), batch[0]
        request = first.request
        self._metrics.add("batches_total")
        if not first.clips and first.session is None:
            for generation in _generations(request):
                asked = (request.question, request.history, generation)
                self._finish(first, ask_without_video(loaded, *asked, first.on_text))
            return
        sessions = [self._session(task, loaded) for task in batch]

        def check_cancelled(stage: str, done: int, total: int) -> None:  # called at every token
            if all(task.cancelled.is_set() for task in batch):
                raise _CancelledError
            for task in batch:
                task.on_progress(stage, done, total)

        for session in sessions:
            session.on_progress = check_cancelled
        if first.inspect:
            shown = inspected(request, first.methods, sessions[0], first.deliver)
            self._finish(first, shown, sessions[0])
            return
        questions = [
            Question(
                session,
                task.request.question,
                task.request.history,
                Receiver(
                    task.on_text,
                    partial(self._finish, task, session=session),
                    task.cancelled.is_set,
                ),
                task.request.generation.max_new_tokens,
            )
            for session, task in zip(sessions, batch, strict=True)
        ]
        most = len(batch)
        if most > 1:
            most = sessions[0].fitting(request.question, first.method, request.history)
        for generation in _generations(request):  # several of a task that is answered alone
            for part in range(0, len(batch), most):
                ask_together(questions[part : part + most], first.method, generation)

    def _finish(
        self, task: Task, answer: Answer | InspectionResult, session: VideoSession | None = None
    ) -> None:
        if session is not None:
            self._sessions.keep(task.key, session)
        if not task.cancelled.is_set():
            self._count(answer)
            task.deliver(answer)

    def _session(self, task: Task, loaded: LoadedModel) -> VideoSession:
        from dycoke_cli.engine.session import VideoSession

        # A task that was answered while this one waited may have encoded the same video.
        session = task.session or self._sessions.find(task.key)
        # A session refers to its model: one of before an unloading would keep that in memory, too.
        if session is not None and session.loaded is loaded:
            self._metrics.add("videos_reused_total")
            return session
        if session is not None and session.windowed is not None:  # its frames are gone
            raise Refused(503, "the model was unloaded; send the request again", "unloaded")
        clip, *others = task.clips if session is None else session.clips
        windowed = None
        if task.request.max_tokens is not None:
            windowed, clip = self._windowed(task, task.clips[0], loaded)
        return VideoSession(
            loaded,
            clip,
            others=others,
            seconds_video_decode=task.seconds_read,
            cache=self._cache,
            windowed=windowed,
        )

    def _windowed(self, task: Task, clip: Clip, loaded: LoadedModel) -> tuple[WindowedVideo, Clip]:
        """A video that was read for its windows, and its clip without frames."""
        from dycoke_cli.models.prompts.frame_fit import fitted

        def on_frames(done: int, total: int) -> None:
            if task.cancelled.is_set():
                raise _CancelledError
            task.on_progress("vision", done, total)

        most = task.request.max_tokens
        assert most is not None, "else it isn't read in windows"
        return read_clip_in_windows(
            loaded,
            task.method,
            fitted(clip, loaded.fit),
            max_tokens=most,
            max_new_tokens=task.request.generation.max_new_tokens,
            cache=self._cache,
            on_frames=on_frames,
        )

    def _count(self, answer: Answer | InspectionResult) -> None:
        for one in answer.methods if isinstance(answer, InspectionResult) else [answer]:
            self._metrics.add("answers_total", method=one.method["name"])
            if one.finish_reason != "refused":
                self._metrics.add("tokens_generated_total", one.tokens.generated)
                self._metrics.add("visual_tokens_total", one.tokens.visual)
                self._metrics.add("visual_tokens_kept_total", one.tokens.visual_kept)
