"""The engine of `--server`: frames are read here, and an OpenAI-compatible server answers."""

from __future__ import annotations

import base64
import io
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from dycoke_cli.errors import DycokeError, ModelError, UsageError
from dycoke_cli.extras import how_to_install
from dycoke_cli.result import Frames, RemoteAnswer, RemoteModel, RemoteSeconds, RemoteTokens
from dycoke_cli.runs.jobs import Asked, Job
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome, all_failed, answered, failed
from dycoke_cli.runs.plan import Plan
from dycoke_cli.runs.read_ahead import Read, ReadAhead
from dycoke_cli.video import Clip

RETRIES = 6
"""After the first try, with growing pauses, on 429, 5xx and lost connections."""
TIMEOUT_S = 600.0
_JPEG_QUALITY = 95
_POLL_S = 0.2


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server; called, it is an engine (`runs.run.Engine`).

    Args:
        url: such as http://localhost:8000/v1.
        key_variable: the environment variable with its key.
        at_once: requests in flight.
        method: the spec that each request names; None leaves it to the server.

    Raises:
        UsageError: the URL isn't one, no request may be in flight, or openai isn't installed.
    """

    url: str
    key_variable: str
    at_once: int
    method: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError("--server must be an address such as http://localhost:8000/v1")
        if parts.username or parts.password:
            raise UsageError("--server must not have a name or password in it: use --api-key-env")
        if self.at_once < 1:
            raise UsageError(f"--requests must be 1 or more, not {self.at_once}")
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"--server needs the package openai: {how_to_install('server')}"
            ) from error

    def served_model(self, named: str | None) -> str:
        """The model to ask for: the one that was named, or the only one that is served.

        Raises:
            ModelError: the server can't be reached, or has none or several.
        """
        if named is not None:
            return named
        import openai

        try:
            models = [model.id for model in self._client().models.list()]
        except openai.APIError as error:
            raise self._told(error) from None
        if len(models) != 1:
            raise ModelError(
                f"the server at {self.url} has {len(models)} models ({', '.join(models)[:200]}): "
                "name one with --model"
            )
        return models[0]

    def __call__(self, jobs: Iterable[Job], plan: Plan, listener: Listener) -> Iterator[Outcome]:
        """Answer all questions of all jobs.

        Raises:
            ModelError: the server can't be reached, or refuses the key or the model.
        """
        client = self._client()
        waiting: deque[tuple[Read, Asked, str]] = deque()
        asking: dict[Future[RemoteAnswer], tuple[Job, Asked]] = {}
        pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="request")
        try:
            with ReadAhead(jobs, plan.sampling, plan.limits) as ahead:
                listener.ready = True
                while True:
                    while not listener.stopping and len(waiting) + len(asking) < self.at_once:
                        read = ahead.take(0 if asking or waiting else _POLL_S)
                        if read is None:
                            break
                        if isinstance(read.clip, DycokeError):
                            yield from all_failed(read.job, plan, read.clip)
                            continue
                        assert read.clip is not None, "a batch asks about videos"
                        url = _data_url(read.clip)
                        for asked in read.job.questions:
                            waiting.append((read, asked, url))
                    if listener.stopping:
                        waiting.clear()
                    while waiting and len(asking) < self.at_once:
                        read, asked, url = waiting.popleft()
                        future = pool.submit(self._ask, client, plan, read, asked, url)
                        asking[future] = read.job, asked
                    if not asking and (listener.stopping or ahead.ended):
                        return
                    for future in wait(asking, _POLL_S, FIRST_COMPLETED).done:
                        yield _outcome(*asking.pop(future), plan, future)
        finally:
            client.close()  # what is in flight ends, too
            pool.shutdown(wait=False, cancel_futures=True)

    def _client(self) -> Any:
        import openai

        key = os.environ.get(self.key_variable) or "none"  # which servers of one's own ignore
        return openai.OpenAI(api_key=key, base_url=self.url, timeout=TIMEOUT_S, max_retries=RETRIES)

    def _ask(self, client: Any, plan: Plan, read: Read, asked: Asked, url: str) -> RemoteAnswer:
        import openai

        assert isinstance(read.clip, Clip)
        options = plan.generation
        started = time.perf_counter()
        try:
            done = client.chat.completions.create(
                model=plan.model,
                messages=_messages(asked, url),
                max_tokens=options.max_new_tokens,
                temperature=options.temperature,
                **({} if options.seed is None else {"seed": options.seed}),
                extra_body=self._extra(read.clip),
            )
        except openai.APIError as error:
            raise self._told(error) from None
        try:
            [choice], usage = done.choices, done.usage
            text, reason = choice.message.content or "", choice.finish_reason
        except (AttributeError, TypeError, ValueError) as error:  # some other server's page
            raise ModelError(
                f"what {self.url} answers isn't a chat completion: check --server"
            ) from error
        return RemoteAnswer(
            question=asked.text,
            answer=text.strip(),
            finish_reason="length" if reason == "length" else "stop",
            seed=options.seed if options.temperature else None,
            model=RemoteModel(name=str(done.model), server=self.url),
            method=self.method,
            frames=Frames(len(read.clip.frames), read.clip.timestamps_s),
            tokens=RemoteTokens(
                prompt=getattr(usage, "prompt_tokens", None),
                generated=getattr(usage, "completion_tokens", None),
            ),
            seconds=RemoteSeconds(video_decode=read.seconds, request=time.perf_counter() - started),
            warnings=tuple(read.clip.warnings),
        )

    def _extra(self, clip: Clip) -> dict[str, Any]:
        """What OpenAI's protocol has no place for: about the frames, and the method."""
        count, times = len(clip.frames), clip.timestamps_s
        span = times[-1] - times[0] if count > 1 else 0.0
        # Frame numbers of a video whose rate is theirs: evenly spaced frames keep their times.
        fps = (count - 1) / span if span > 0 else 1.0
        about = {
            "num_frames": -1, "do_sample_frames": False, "fps": fps, "total_num_frames": count,
            "duration": count / fps, "frames_indices": [*range(count)],
        }  # fmt: skip
        extra: dict[str, Any] = {"media_io_kwargs": {"video": about}}
        if self.method is not None:
            extra["mm_processor_kwargs"] = {"dycoke": self.method}  # vLLM with our plug-in
            extra["dycoke"] = {"method": self.method}  # dycoke serve
        return extra

    def _told(self, error: Any) -> DycokeError:
        """What an error of the client means: a ModelError would come of every request."""
        import openai

        status = getattr(error, "status_code", None)
        if isinstance(error, openai.APIConnectionError):
            return ModelError(
                f"the server at {self.url} can't be reached: check --server, and that it runs; "
                "the same command then resumes"
            )
        if status in (401, 403):
            return ModelError(
                f"the server at {self.url} refuses the key ({status}): set {self.key_variable}, "
                "or name another variable with --api-key-env"
            )
        key = os.environ.get(self.key_variable)
        said = str(error).replace(key, "…") if key else str(error)
        said = " ".join(said.split())[:500]
        if status == 404:
            return ModelError(f"the server at {self.url} has no such model or path: {said}")
        if status is not None and status < 500 and status != 429:
            return UsageError(f"the server refuses the request: {said}")
        return DycokeError(f"the server gave no answer: {said}")


def _outcome(job: Job, asked: Asked, plan: Plan, future: Future[RemoteAnswer]) -> Outcome:
    error = future.exception()
    if isinstance(error, ModelError):
        raise error
    if error is not None:
        return failed(job, asked, plan, error)
    return answered(job, asked, plan, future.result())


def _messages(asked: Asked, url: str) -> list[dict[str, Any]]:
    """The turns: the video is before the first question."""
    turns: list[dict[str, Any]] = []
    video = [{"type": "video_url", "video_url": {"url": url}}]
    for question, answer in (*asked.history, (asked.text, None)):
        content = [*([] if turns else video), {"type": "text", "text": question}]
        turns.append({"role": "user", "content": content})
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
    return turns


def _data_url(clip: Clip) -> str:
    """The frames as JPEGs, in the format of vLLM."""
    from PIL import Image

    pictures = []
    for frame in clip.frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        pictures.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return f"data:video/jpeg;base64,{','.join(pictures)}"
