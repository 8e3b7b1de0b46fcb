"""`dycoke ask`: questions about a video, answered."""

from __future__ import annotations

import contextlib
from typing import Any

from dycoke_cli.cli import choice, options, output, questions
from dycoke_cli.cli.conversation import Conversation, converse
from dycoke_cli.cli.presenter import AsJson, AsText
from dycoke_cli.errors import UsageError
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions

SCHEMA = "dycoke.answer/1"
BUNDLED_NOTE = (
    "The bundled model answers, and it knows only its own world of moving shapes. "
    "For a real one: `dycoke models default llava-onevision-0.5b`, or --model."
)


def ask(
    video: options.VideoArgument,
    question: options.QuestionArgument = None,
    more: options.Questions = None,
    frames: options.Frames = None,
    fps: options.Fps = None,
    max_frames: options.MaxFrames = None,
    start: options.Start = None,
    end: options.End = None,
    stream: options.Stream = None,
    model: options.Model = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    device_map: options.DeviceMap = None,
    quantize: options.Quantize = None,
    random_weights: options.RandomWeights = False,
    method: options.MethodName = "dycoke",
    ttm: options.Ttm = None,
    merge_ratio: options.MergeRatio = None,
    window: options.Window = None,
    kv_prune: options.KvPrune = None,
    prune_ratio: options.PruneRatio = None,
    prune_layer: options.PruneLayer = None,
    recall: options.Recall = None,
    recall_threshold: options.RecallThreshold = None,
    variant: options.Variant = None,
    positions: options.Positions = None,
    dp_cache: options.DpCache = None,
    max_new_tokens: options.MaxNewTokens = 128,
    temperature: options.Temperature = 0.0,
    seed: options.Seed = None,
    compare: options.Compare = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Answer questions about a video.

    The answer goes to stdout as it comes; progress, figures and warnings go to stderr.
    """
    method_flags = {
        "ttm": ttm,
        "merge_ratio": merge_ratio,
        "window": window,
        "kv_prune": kv_prune,
        "prune_ratio": prune_ratio,
        "prune_layer": prune_layer,
        "recall": recall,
        "recall_threshold": recall_threshold,
        "variant": variant,
        "positions": positions,
        "dp_cache": dp_cache,
    }
    # What a program that reads stdout still waits for; the questions follow when they are known.
    waiting: list[dict[str, Any]] = [{"video": video, "question": question}]
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, waiting))
        if compare and method == "none":
            raise UsageError("--compare compares with --method none; choose another method")
        answer_choice = choice.AnswerChoice(max_new_tokens, temperature, seed)
        loading = LoadOptions(
            device=device,
            dtype=dtype,
            random_weights=random_weights,
            device_map=device_map,
            quantize=quantize,
        )
        sampling = choice.sampling(
            frames=frames, fps=fps, max_frames=max_frames, start=start, end=end, stream=stream
        )
        asked = questions.collect(question, more, video)
        waiting[:] = [{"video": video, "question": text} for text in asked]
        chosen = settings.default_model() if model is None else model
        note = BUNDLED_NOTE if chosen is None and not quiet else None
        presenter = stack.enter_context(
            AsJson(waiting, quiet, note) if as_json else AsText(len(asked), quiet, note)
        )
        # From here on torch is imported, which takes seconds.
        presenter.progress("start", 0, 0)
        conversation = Conversation(
            video=video,
            questions=asked,
            sampling=sampling,
            model=settings.BUNDLED if chosen is None else chosen,
            method=choice.method_choice(method, method_flags),
            answer=answer_choice,
            loading=loading,
            compare=compare,
        )
        converse(conversation, presenter)
