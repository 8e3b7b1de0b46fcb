"""Requests that are in flight at once, and what each of their answers took."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.serving.server import NAME

QUESTION = "What happens in the video?"
_NUMBERS = itertools.count()


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
    tpot_s: tuple[float, ...]  # of each, for a token after that; none where there is but one
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


def give(server: str, load: Load, frames: np.ndarray, *, ignore_eos: bool) -> Answered:
    """Ask a server, and wait for all of its answers.

    Args:
        server: its base URL.
        frames: `[F, H, W, 3]`, uint8, RGB, of each request.
        ignore_eos: answers go on to the last token. Not every server can.
    """
    requests = [
        body(data_url(marked(frames)), len(frames), QUESTION, load.spec, load.tokens)
        for _ in range(load.requests)
    ]
    for request in requests if ignore_eos else ():
        request["extra_body"]["ignore_eos"] = True
    return asyncio.run(_give(server, load, requests))


def marked(frames: np.ndarray) -> np.ndarray:
    """The frames with a number in a corner of the first one: no two videos are the same.

    A server that keeps videos has each of them to encode.
    """
    digits, copy = f"{next(_NUMBERS):05x}", frames.copy()
    for place, digit in enumerate(digits):
        copy[0, :16, 16 * place : 16 * (place + 1)] = 16 * int(digit, 16)
    return copy


async def _give(server: str, load: Load, requests: Sequence[dict[str, Any]]) -> Answered:
    from openai import AsyncOpenAI

    places = asyncio.Semaphore(load.at_once)
    async with AsyncOpenAI(base_url=server, api_key="none", max_retries=0, timeout=3600) as client:
        [model] = [each.id async for each in client.models.list()]

        async def ask(request: dict[str, Any]) -> tuple[float, float, int, int]:
            async with places:
                return await _ask(client, {**request, "model": model})

        started = time.perf_counter()
        answers = await asyncio.gather(*map(ask, requests))
        seconds = time.perf_counter() - started
    first, further, prompts, generated = zip(*answers, strict=True)
    further = tuple(each for each in further if not math.isnan(each))
    return Answered(seconds, tuple(first), further, prompts[0], sum(generated))


async def _ask(client: Any, request: dict[str, Any]) -> tuple[float, float, int, int]:
    """Seconds to the first token and for each further one, and tokens of prompt and answer."""
    started, first, last, usage = time.perf_counter(), math.nan, math.nan, None
    stream = await client.chat.completions.create(
        **request, stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        # vLLM sends none before the first token, and ours says first who speaks.
        if chunk.choices and chunk.choices[0].delta.content:
            last = time.perf_counter() - started
            first = last if math.isnan(first) else first
        usage = chunk.usage or usage
    assert usage is not None
    number = usage.completion_tokens
    return first, (last - first) / (number - 1 or math.nan), usage.prompt_tokens, number


def percentile(times: Sequence[float], share: float) -> float:
    """The smallest time that at least this share of them doesn't exceed."""
    return sorted(times)[max(math.ceil(share * len(times)), 1) - 1]
