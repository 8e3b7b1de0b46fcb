"""A model on an OpenAI-compatible server, in place of one in this process (`--server`).

Frames are decoded here and sent as JPEGs. The server drops visual tokens by the method that a
request names, if it supports our methods.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from dycoke_cli.answer.answer import (
    Answer,
    ReportedFrames,
    ReportedModel,
    ReportedSubtitles,
    ReportedWindows,
    Scoring,
    Seconds,
    Tokens,
)
from dycoke_cli.answer.json_schema import ABSENT, Amount, Count, read_or_none, reported
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import described, name_of, restore
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions
from dycoke_cli.errors import ModelError, UsageError, how_to_install
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.request import Request
from dycoke_cli.unicode import valid

if TYPE_CHECKING:
    import numpy as np

    from dycoke_cli.runs.remote.remote_client import RemoteClient, ServerResponse
    from dycoke_cli.video.clip import Clip
    from dycoke_cli.video.subtitles import Subtitles

_QUALITY = 95
_CLOCK = 1000
"""Frame indices per second: they are milliseconds."""
Turns = Sequence[tuple[str, str]]
_PROBE = "is-this-dycoke"
"""Name of a method that doesn't exist: servers with our methods refuse it, others ignore it."""
_PROBE_FRAMES, _PROBE_SIZE = 8, 64  # equivalent: any small video
_MOST_SENTENCES, _LENGTH = 100, 2000


@dataclass(frozen=True)
class SentVideo:
    """Frames in the form that is sent."""

    parts: tuple[dict[str, Any], ...]  # parts of a chat message
    about: dict[str, Any] | None  # times of the frames, for `media_io_kwargs`; None for pictures
    frames: ReportedFrames  # of the answer
    part_s: tuple[float, float] | None = None  # what was read; None where it is the whole
    # lines that are shown at a frame, before the first question; None for none
    subtitles: Subtitles | None = None
    warnings: tuple[str, ...] = ()  # about the video
    seconds: float = 0.0  # decoding time


NO_VIDEO = SentVideo((), None, ReportedFrames(0, ()))


def as_video(
    frames: np.ndarray, times_s: Sequence[float], duration_s: float | None = None
) -> SentVideo:
    """The frames as one part of a message, in vLLM's form.

    Their times are those of a video with a frame per millisecond: a server computes `index / fps`,
    so that late and unevenly spaced frames keep their times.

    Args:
        frames: RGB, uint8 `[F, H, W, 3]`.
        duration_s: of the whole video; None if unknown.
    """
    url = f"data:video/jpeg;base64,{','.join(_jpegs(frames))}"
    part = {"type": "video_url", "video_url": {"url": url}}
    indices = [round(time_s * _CLOCK) for time_s in times_s]
    total = max(round((duration_s or 0) * _CLOCK), indices[-1] + 1, len(indices))
    about = {
        "num_frames": -1, "do_sample_frames": False, "fps": float(_CLOCK),
        "total_num_frames": total, "duration": total / _CLOCK, "frames_indices": indices,
    }  # fmt: skip
    return SentVideo((part,), about, ReportedFrames(len(frames), tuple(times_s)))


def as_images(
    frames: np.ndarray, times_s: Sequence[float], duration_s: float | None = None
) -> SentVideo:
    """A part per frame, for servers that take no videos and no times; see `as_video`."""
    urls = (f"data:image/jpeg;base64,{picture}" for picture in _jpegs(frames))
    parts = ({"type": "image_url", "image_url": {"url": url}} for url in urls)
    return SentVideo(tuple(parts), None, ReportedFrames(len(frames), tuple(times_s)))


def _jpegs(frames: np.ndarray) -> list[str]:
    """JPEGs of frames in base64."""
    from PIL import Image

    pictures = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=_QUALITY, subsampling=0)
        pictures.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return pictures


def check_address(url: str, flag: str, otherwise: str) -> None:
    """Check the address of a server.

    Args:
        otherwise: where a key comes from.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{flag} must be an address such as http://localhost:8000/v1")
    if parts.username or parts.password:
        raise UsageError(f"{flag} must not have a name or password in it: {otherwise}")


@dataclass(frozen=True)
class Server:
    """Which server answers, and how it is asked."""

    url: str  # such as http://localhost:8000/v1
    key_variable: str = "OPENAI_API_KEY"  # the environment variable with its key
    concurrency: int = 8  # requests in flight
    names_method: bool = True  # whether requests name their method; else the server has its own
    as_images: bool = False  # whether frames are sent as pictures, to servers that take no videos
    model: str | None = None  # name of the model there; None for the only one that is served

    def __post_init__(self) -> None:
        check_address(self.url, "--server", "use --api-key-env")
        if self.concurrency < 1:
            raise UsageError(f"--requests must be 1 or more, not {self.concurrency}")
        try:
            import openai  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"--server needs the package openai: {how_to_install('server')}"
            ) from error

    def connected(self, methods: Collection[Method]) -> ServedModel:
        """The model to ask.

        Args:
            methods: that requests will name, unless each is left to the server.
        """
        from dycoke_cli.runs.remote.remote_client import RemoteClient

        client = RemoteClient(self.url, self.key_variable)
        models = client.models(required=self.model is None)
        if self.model is None and len(models) != 1:
            listed = f" ({', '.join(models)[:200]})" if models else ""
            raise ModelError(
                f"the server at {self.url} lists {len(models)} models{listed}: name one with "
                "--model"
            )
        model = ServedModel(self, self.model or models[0], client)
        methods = methods if self.names_method else ()
        compressing = next((method.name for method in methods if method.name != "none"), None)
        if compressing is not None and self.as_images:
            raise UsageError(
                f"--as-images is for servers without our methods: with {compressing}, leave it out"
            )
        if methods and not self.as_images and model.knows_methods():
            return replace(model, sends_method=True)
        if compressing is not None:
            raise UsageError(
                f"the server at {self.url} can't be asked by the method {compressing}: only "
                "`dycoke serve` can, and vLLM with dycoke-vllm and --trust-request-mm-kwargs"
            )
        return model


@dataclass(frozen=True)
class ServedModel:
    """A model on a server."""

    server: Server  # has the model
    name: str  # of the model there
    client: RemoteClient  # of the server
    sends_method: bool = False  # whether requests name their method

    def describe(self) -> dict[str, Any]:
        """Identity of the model, with the keys of a model in this process."""
        return {"name": self.name, **dict.fromkeys(("revision", "weights", "dtype", "device"))}

    def plan(self, request: Request) -> RunPlan:
        """The plan of a request that it answers.

        The address isn't part of the identity, so that a run can resume on another server.
        """
        identity = {"name": self.name, "served": True, "own_method": not self.server.names_method}
        served = replace(request, model=self.name, cautions=())
        return RunPlan(served, request.method, identity)

    def send(self, clip: Clip, seconds: float) -> SentVideo:
        """A video in the form that is sent."""
        encode = as_images if self.server.as_images else as_video
        sent = encode(clip.frames, clip.timestamps_s, clip.info.duration_s)
        return replace(
            sent,
            part_s=clip.part_s,
            subtitles=clip.subtitles,
            warnings=tuple(clip.warnings),
            seconds=seconds,
        )

    def ask(
        self,
        question: str,
        history: Turns,
        video: SentVideo,
        method: Method | None,
        options: GenerationOptions,
        on_text: Callable[[str], None] | None = None,
    ) -> Answer:
        """Ask a question.

        Args:
            question: plain text.
            method: that the request names; None leaves it to the server.
        """
        spec = name_of(method) if method is not None and self.sends_method else None
        body = self._body(question, history, video, options, spec)
        reply = self.client.ask(body, on_text)
        # Everything from here on is untrusted: read value by value, with null for what doesn't fit.
        details = reply.usage.get("dycoke")
        details = details if isinstance(details, dict) else {}
        applied = _method(details.get("method"))
        if applied is None and method is not None:
            applied = described(method)
        seed = read_or_none(Count, details.get("seed"))
        reason: Literal["length", "stop"] = "length" if reply.reason == "length" else "stop"
        text, lines = reply.text.strip(), video.subtitles
        return Answer(
            question=question,
            finish_reason=reason,
            seed=(options.seed if seed is None else seed) if options.temperature else None,
            model=ReportedModel(
                name=valid(reply.model[:_LENGTH] or self.name),
                revision=None,
                dtype=None,
                device=None,
                server=self.server.url,
            ),
            method=applied,
            frames=video.frames,
            windows=read_or_none(ReportedWindows, details.get("windows")) or ABSENT,
            subtitles=ABSENT
            if lines is None
            else ReportedSubtitles(lines.source, len(lines.lines)),
            tokens=_tokens(reply.usage, details.get("tokens")),
            decode=None,
            flops=None,
            seconds=_seconds(reply, details.get("seconds"), video.seconds),
            tokens_per_second=None,
            bytes=None,
            warnings=(*video.warnings, *_sentences(details.get("warnings"))),
            **{"answer": text, **replied(options, text, reason, details)},
        )

    def knows_methods(self) -> bool:
        """Whether the server compresses as a request says."""
        return self.client.refuses(self._probe(_PROBE), _PROBE)

    def check(self, method: Method) -> None:
        """Refuse a method that the server refuses."""
        if self.sends_method and method.name != "none":
            self.client.ask(self._probe(name_of(method)))

    def _probe(self, spec: str) -> dict[str, Any]:
        """A small request by some method."""
        import numpy as np

        frames = np.full((_PROBE_FRAMES, _PROBE_SIZE, _PROBE_SIZE, 3), 128, np.uint8)
        video = as_video(frames, tuple(map(float, range(_PROBE_FRAMES))))
        options = GenerationOptions(max_tokens=1)
        return self._body("?", (), video, options, spec)

    def _body(
        self,
        question: str,
        history: Turns,
        video: SentVideo,
        options: GenerationOptions,
        spec: str | None,
    ) -> dict[str, Any]:
        extra = asked_for(options)
        if video.about is not None:
            extra["media_io_kwargs"] = {"video": video.about}
            if spec is not None:
                extra["mm_processor_kwargs"] = {"dycoke": spec}  # vLLM with our plug-in
                extra["dycoke"] = extra.get("dycoke", {}) | {"method": spec}  # dycoke serve
        return {
            "model": self.name,
            "messages": _messages(question, history, video),
            "max_tokens": options.max_tokens,
            "temperature": options.temperature,
            **({} if options.seed is None else {"seed": options.seed}),
            "extra_body": extra,
        }


def _messages(question: str, history: Turns, video: SentVideo) -> list[dict[str, Any]]:
    """The turns: the video and its subtitles are before the first question."""
    turns: list[dict[str, Any]] = []
    subtitles = "" if video.subtitles is None else video.subtitles.text
    for text, answer in (*history, (question, None)):
        # As `models.prompts.chat_text` orders what a model here reads.
        said = text if turns else subtitles + text
        content = [*([] if turns else video.parts), {"type": "text", "text": said}]
        turns.append({"role": "user", "content": content})
        if answer is not None:
            turns.append({"role": "assistant", "content": answer})
    return turns


def _tokens(usage: Mapping[str, Any], details: Any) -> Tokens:
    """Tokens of an answer: totals from OpenAI's `usage`, the rest from `usage.dycoke.tokens`."""
    totals = {
        "generated": read_or_none(Count, usage.get("completion_tokens")),
        "prompt": read_or_none(Count, usage.get("prompt_tokens")),
    }
    return Tokens(**reported(Tokens, details) | totals)


def _seconds(reply: ServerResponse, details: Any, video_decode: float) -> Seconds:
    """Seconds of an answer: totals measured here, stages from `usage.dycoke.seconds`."""
    measured = {
        "load": None,  # a server loads its model before the request
        "video_decode": video_decode,
        "first_token": None if reply.first_s is None else video_decode + reply.first_s,
        "request": reply.seconds,
        "total": video_decode + reply.seconds,
    }
    return Seconds(**reported(Seconds, details) | measured)


def _method(value: Any) -> dict[str, Any] | None:
    """The method that a server names; None if it is none of ours, as one of another version."""
    try:
        named = described(restore(value))
    except (UsageError, TypeError):
        return None
    return named if value.keys() <= named.keys() else None


def _sentences(value: Any) -> list[str]:
    """The warnings of a server, the first ones if there are too many to read."""
    given = value[:_MOST_SENTENCES] if isinstance(value, list) else []
    return [valid(one[:_LENGTH]) for one in given if isinstance(one, str)]


def asked_for(options: GenerationOptions) -> dict[str, Any]:
    """Keys of a request for the options or the form of its answer; none for free text.

    `response_format` is OpenAI's, and `structured_outputs` is vLLM's.
    """
    if options.typed is not None:
        return {"structured_outputs": {"choice": [*options.typed.texts]}}
    if (form := options.structured) is None:
        return {}
    if form.kind == "json":
        schema = {"name": "answer", "schema": json.loads(form.definition)}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"structured_outputs": {form.kind: form.definition}}


def replied(options: GenerationOptions, text: str, reason: str, told: Any) -> dict[str, Any]:
    """Fields of `Answer` that a typed answer adds; none for free text."""
    if options.typed is not None:
        return _typed(options.typed, text, told if isinstance(told, dict) else {})
    if (form := options.structured) is None:
        return {}
    if reason == "length":
        raise UsageError(
            f"the answer isn't complete after {options.max_tokens} tokens; raise --max-tokens"
        )
    if form.kind != "json":
        return {}
    try:
        return {"parsed": form.value(text)}
    except (ValueError, RecursionError) as error:
        raise UsageError(
            "the server's answer isn't JSON: it doesn't support response_format; leave --schema "
            "out, or ask a model on this machine"
        ) from error


def _typed(typed: TypedOptions, said: str, told: Mapping[str, Any]) -> dict[str, Any]:
    shares = read_or_none(dict[str, Amount], told.get("probabilities"))
    scoring = read_or_none(Scoring, told.get("scoring"), lambda text: valid(text[:_LENGTH]))
    if shares is None or scoring is None or shares.keys() != set(typed.texts):
        raise UsageError(
            "the server gives no probabilities of the options: only `dycoke serve` does; ask a "
            "model on this machine, or leave the options out"
        )
    ordered = {text: float(shares[text]) for text in typed.texts}
    first, second = sorted(ordered.values(), reverse=True)[:2]
    likeliest = [text for text, share in ordered.items() if share == first]
    choice = said if said in likeliest else likeliest[0]
    mean = typed.mean(ordered)
    return {
        "answer": choice,
        "choice": choice,
        "probabilities": ordered,
        "margin": first - second,
        "mean": ABSENT if mean is None else mean,
        "scoring": scoring,
    }
