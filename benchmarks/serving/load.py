"""Requests that are in flight at once, and what each of their answers took."""

from __future__ import annotations

import asyncio
import base64
import io
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.serving.server import NAME

QUESTION = "What happens in the video?"


@dataclass(frozen=True)
class Load:
    """What a server is given to do."""

    spec: str  # of the method that each request names
    at_once: int  # requests in flight
    requests: int  # in all
    tokens: int  # of each answer


@dataclass(frozen=True)
class Answered:
    """What the requests of a load took."""

    seconds: float  # all of them together
    ttft_s: tuple[float, ...]  # of each, until its first token
    prompt_tokens: int  # of each, behind compression
    generated: int  # tokens of all answers


def data_url(frames: np.ndarray, form: str = "JPEG") -> str:
    """Frames `[F, H, W, 3]`, uint8, RGB as vLLM takes them, each a picture of that format."""
    from PIL import Image

    pictures = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, form)
        pictures.append(base64.b64encode(file.getvalue()).decode("ascii"))
    return f"data:video/jpeg;base64,{','.join(pictures)}"


def body(url: str, count: int, question: str, spec: str | None, tokens: int) -> dict[str, Any]:
    """Arguments of openai's `chat.completions.create`.

    Args:
        spec: of the method; None names none.
        tokens: of the answer, at most.
    """
    about = {
        "num_frames": -1, "do_sample_frames": False, "fps": 1.0, "total_num_frames": count,
        "duration": count, "frames_indices": [*range(count)],
    }  # fmt: skip
    method = {} if spec is None else {"mm_processor_kwargs": {"dycoke": spec}}
    content = [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return {
        "model": NAME,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "extra_body": {"media_io_kwargs": {"video": about}, **method},
    }


def give(server: str, load: Load, frames: np.ndarray) -> Answered:
    """Ask a server, and wait for all of its answers.

    Args:
        frames: `[F, H, W, 3]`, uint8, RGB, of each request.
    """
    request = body(data_url(frames), len(frames), QUESTION, load.spec, load.tokens)
    request["extra_body"]["ignore_eos"] = True
    return asyncio.run(_give(server, load, request))


async def _give(server: str, load: Load, request: dict[str, Any]) -> Answered:
    from openai import AsyncOpenAI

    places = asyncio.Semaphore(load.at_once)
    async with AsyncOpenAI(base_url=server, api_key="none", max_retries=0, timeout=3600) as client:

        async def ask() -> tuple[float, int, int]:
            async with places:
                return await _ask(client, request)

        started = time.perf_counter()
        answers = await asyncio.gather(*(ask() for _ in range(load.requests)))
        seconds = time.perf_counter() - started
    first, prompts, generated = zip(*answers, strict=True)
    return Answered(seconds, tuple(first), prompts[0], sum(generated))


async def _ask(client: Any, request: dict[str, Any]) -> tuple[float, int, int]:
    started, first, usage = time.perf_counter(), math.nan, None
    stream = await client.chat.completions.create(
        **request, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        if math.isnan(first) and chunk.choices:  # vLLM sends none before the first token
            first = time.perf_counter() - started
        usage = chunk.usage or usage
    assert usage is not None
    return first, usage.prompt_tokens, usage.completion_tokens


def percentile(times: Sequence[float], share: float) -> float:
    """The smallest time that at least this share of them doesn't exceed."""
    return sorted(times)[max(math.ceil(share * len(times)), 1) - 1]
