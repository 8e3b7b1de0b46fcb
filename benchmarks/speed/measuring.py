"""Times one answer of one contestant, stage by stage, and takes its memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from benchmarks.drawn import drawn
from benchmarks.speed import published
from benchmarks.speed.alone import linear_alone
from benchmarks.speed.contestants import Contestant
from benchmarks.speed.measured import Measured
from dycoke_cli import VideoSession
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine.generate import (
    AnswerStream,
    BatchStreamer,
    PeakMemory,
    Stopwatch,
    kv_bytes,
    read_per_token,
)
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.vision import inject_videos
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.stock.private_api import attention_implementation, cache_of
from dycoke_cli.verification.reference import stock_inputs

FIRST_QUESTION = "Who is in the video?"
QUESTION = "What happens in the video?"
ATTENTION = {"stock": "sdpa", "eager": "eager"}


@dataclass(frozen=True)
class _Moments:
    """When the inputs were ready, the text decoder was reached, and the first token and the last
    came; what there was."""

    ready: float
    reached: float
    first: float
    last: float
    written: int
    visual: int
    kv_active: int


def whole(loaded: LoadedModel, frames: int, contestant: Contestant, new_tokens: int) -> Measured:
    """From frames to the last token of an answer."""
    if contestant.linear_alone:
        return linear_alone(loaded, frames, contestant, new_tokens)
    clip = drawn(frames // contestant.every)
    with _attention_of(loaded, contestant):
        before = VideoSession(loaded, clip) if contestant.again else None
        if before is not None and contestant.method is not None:
            before.ask(FIRST_QUESTION, contestant.method, max_tokens=2)
        watch, peak = _begin(loaded)
        session = before or VideoSession(loaded, clip, reuse=False)
        return _answer(session, contestant, new_tokens, watch, peak, processor=watch.read())


def language(session: VideoSession, contestant: Contestant, new_tokens: int) -> Measured:
    """The language model's part alone, about a video that is encoded already."""
    with _attention_of(session.loaded, contestant):
        watch, peak = _begin(session.loaded)
        return _answer(session, contestant, new_tokens, watch, peak, whole=False)


def _answer(
    session: VideoSession,
    contestant: Contestant,
    new_tokens: int,
    watch: Stopwatch,
    peak: PeakMemory,
    *,
    processor: float = 0.0,
    whole: bool = True,
) -> Measured:
    if contestant.method is not None:
        answer = session.ask(QUESTION, contestant.method, max_tokens=new_tokens)
        vision, prefill = answer.seconds.vision, answer.seconds.prefill
        decode, visual = answer.seconds.decode, answer.tokens.visual_kept
        written, kv_active = answer.tokens.generated, answer.bytes.kv_active
    else:
        run = _published if contestant.published else _plain
        at = run(session, new_tokens, watch, whole)
        # The stock processor makes floats of all pixels, which ours leaves to the device.
        processor, vision, prefill = at.ready, at.reached - at.ready, at.first - at.reached
        decode = at.last - at.first
        written, visual, kv_active = at.written, at.visual, at.kv_active
    total, (working, most) = watch.read(), peak.read()
    return Measured(
        processor=processor,
        vision=vision,
        prefill=prefill,
        token=decode / (written - 1),
        total=total,
        peak=working,
        visual=visual,
        read=read_per_token(session.loaded.model, kv_active) or 0,
        written=written,
        peak_total=most,
        loading=session.loaded.seconds_load,
    )


def _plain(session: VideoSession, new_tokens: int, watch: Stopwatch, whole: bool) -> _Moments:
    """A stock `generate()`, on pixels or on rows that are encoded already."""
    model, streamer = session.loaded.model, _streamer(session, watch, new_tokens)
    reached: list[float] = []
    note = model.get_decoder().register_forward_pre_hook(
        lambda *_: reached.append(watch.read()) if not reached else None
    )
    with torch.inference_mode(), _video(session, whole, new_tokens) as inputs:
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        ready = watch.read()
        output = model.generate(
            **inputs,
            attention_mask=torch.ones_like(inputs["input_ids"]).to(model.device),
            max_new_tokens=new_tokens,
            do_sample=False,
            streamer=streamer,
            return_dict_in_generate=True,
        )
    note.remove()
    assert streamer.first_token is not None
    last, written = watch.read(), output.sequences.shape[1] - inputs["input_ids"].shape[1]
    read = kv_bytes(cache_of(output))[1]
    return _Moments(
        ready, reached[0], streamer.first_token, last, written, session.video.visual, read
    )


def _published(session: VideoSession, new_tokens: int, watch: Stopwatch, whole: bool) -> _Moments:
    model, streamer = session.loaded.model, _streamer(session, watch, new_tokens)
    ready = watch.read()
    session.encode(watch, BASELINE)
    prompt = session.prompt(QUESTION, (), BASELINE, GenerationOptions(new_tokens))()
    reached = watch.read()
    model.set_attn_implementation({"text_config": published.NAME})
    tokens, cache = published.answer(model, prompt, session.video.frames, new_tokens, streamer)
    assert streamer.first_token is not None
    visual = published.METHOD.kept_tokens(session.video.frames, session.video.tokens_per_frame)
    first = streamer.first_token
    return _Moments(ready, reached, first, watch.read(), len(tokens), visual, kv_bytes(cache)[1])


@contextmanager
def _video(
    session: VideoSession, whole: bool, new_tokens: int
) -> Iterator[dict[str, torch.Tensor]]:
    """What a stock `generate()` is called with."""
    if whole:
        yield stock_inputs(session, QUESTION)
        return
    prompt = session.prompt(QUESTION, (), BASELINE, GenerationOptions(new_tokens))()
    with inject_videos(session.loaded.model, [prompt.videos], prompt.placeholders):
        yield {"input_ids": prompt.input_ids, **prompt.extra_inputs}


def _streamer(session: VideoSession, watch: Stopwatch, new_tokens: int) -> BatchStreamer:
    answer = AnswerStream(session.loaded.processor.tokenizer, new_tokens)
    return BatchStreamer(watch.read, [answer])


@contextmanager
def _attention_of(loaded: LoadedModel, contestant: Contestant) -> Iterator[None]:
    """Within the block the model runs the contestant's attention."""
    before = attention_implementation(loaded.model)
    # What "fast" is depends on the processor: it was settled as the model was loaded.
    loaded.model.set_attn_implementation(ATTENTION.get(contestant.attention, before))
    try:
        yield
    finally:
        loaded.model.set_attn_implementation(before)


def _begin(loaded: LoadedModel) -> tuple[Stopwatch, PeakMemory]:
    """With nothing left of the one before.

    But for what CUDA's allocator holds ready: it isn't counted, and to ask for it again takes time.
    """
    gc.collect()
    peak = PeakMemory([loaded.input_device], loaded.working_weights_bytes)
    return Stopwatch(loaded.input_device), peak
