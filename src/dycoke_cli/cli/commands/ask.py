"""`dycoke ask`: answers questions about a video."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Sequence
from typing import Any

import typer

from dycoke_cli.answer.answer import SCHEMA
from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.estimate import (
    Estimate,
    Memory,
    check_memory,
    cost_of_video,
    show_cost,
)
from dycoke_cli.cli.commands.presenter import AsJson, AsText
from dycoke_cli.cli.flags import options, question_input, request_flags
from dycoke_cli.cli.flags.method_flags import MethodFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags
from dycoke_cli.cli.flags.server_flags import NoServer, ServerFlags
from dycoke_cli.cli.flags.spread import spread
from dycoke_cli.cli.flags.words import apart, is_pattern, quoted
from dycoke_cli.errors import UsageError
from dycoke_cli.video.pictures import as_named, is_video, pictures_of, sources

BUNDLED_NOTE = (
    "Using the bundled demo model, which only understands synthetic clips of moving shapes. "
    "For real videos: `dycoke models default llava-onevision-0.5b`, or --model."
)
BRIEF = f"{request_flags.BRIEF} --temperature --seed --follow-up --compare --stats --json"


@spread
def ask(
    *,
    video: options.VideosArgument,
    words: options.QuestionArgument = None,
    more: options.Questions = None,
    model: request_flags.Model,
    sampling: request_flags.Frames,
    subtitles: options.Subtitles = None,
    limits: request_flags.Limiting,
    loading: request_flags.Loading,
    method: MethodFlags,
    generation: request_flags.Generation,
    cache: options.Cache = False,
    no_server: NoServer = False,
    server: ServerFlags,
    follow_up: options.FollowUp = False,
    compare: options.Compare = False,
    estimate: Estimate = False,
    memory: Memory = None,
    stats: options.Stats = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Answer questions about a video, or about several together.

    Examples:
        dycoke ask holiday.mp4 "What happens?"
        dycoke ask talk.mkv -q "Who speaks?" -q "What about?" --follow-up --end 5:00
        dycoke ask clip.mp4 "How many cars?" --model qwen2.5-vl-3b --compare --json

    The answer goes to stdout as it is generated; progress, statistics and warnings go to stderr.
    """
    # What a program that reads stdout still waits for; the questions follow when they are known.
    waiting: list[dict[str, Any]] = [{"video": video, "question": " ".join(words or []) or None}]
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, waiting))
        named, question = apart([video, *(words or [])])
        videos = as_named(named)
        each = _check(videos, [*([question] if question else []), *(more or [])])
        alone = {"--estimate": estimate, "--subtitles": subtitles, "--server": server.server}
        each_read = sources(videos)
        if len(each_read) > 1 and (flag := next((f for f in alone if alone[f]), None)):
            raise UsageError(f"{flag} takes one video")
        server.check(context)
        request = method.applied(
            request_flags.request(
                model, loading, sampling, generation, subtitles=subtitles, limits=limits
            )
        )
        remote = server.chosen(context, request.method)
        if compare and request.method.name == "none":
            raise UsageError("--compare compares with --method none; choose another method")
        check_memory(memory, estimate)
        if estimate:
            show_cost(cost_of_video(each_read[0], request, memory), as_json)
            return
        asked = question_input.collect(question, more, *videos)
        if follow_up and len(asked) < 2:
            raise UsageError("--follow-up needs two questions or more, as in -q … -q …")
        waiting[:] = [{"video": videos[0], "question": text} for text in asked]
        note = BUNDLED_NOTE if model.named is None and remote is None else None
        if len(each_read) > 1:
            note = f"Asking about {len(videos)} videos together; {each}"
        note = None if quiet else note
        presenter = stack.enter_context(
            AsJson(waiting, quiet, note) if as_json else AsText(len(asked), quiet, note, stats)
        )
        # From here on torch is imported, which takes seconds.
        presenter.stage("start")
        from dycoke_cli.runs.conversation import Conversation, converse

        conversation = Conversation(
            videos, asked, request, compare=compare, cache=cache, follow_up=follow_up
        )
        with speaking_of_flags():
            if remote is not None:
                from dycoke_cli.runs.remote.remote_conversation import converse_remotely

                converse_remotely(conversation, remote, model.model, presenter)
                return
            from dycoke_cli.server.local.client import ask_running

            here = no_server or request.is_local_only
            reason = "" if here else ask_running(conversation, presenter)
            if reason is None:
                return
            if reason:
                presenter.note(f"Asking without your server: {reason}")
            # Only here: where a server answers, this process reads no video.
            from dycoke_cli.video.decoder import Decoder

            # They import PyAV while this process imports torch.
            decoders = [stack.enter_context(Decoder(limits)) for _ in each_read]
            for decoder in decoders:
                decoder.start()
            converse(conversation, presenter, decoders=decoders)


def _check(videos: Sequence[str], asked: Sequence[str]) -> str:
    """Check that videos are named, and no patterns or folders but those of pictures.

    Args:
        videos: as they were named.
        asked: the questions.

    Returns:
        The command that asks about each of them alone, as it stands in a sentence.

    Raises:
        UsageError: with the command for what is named.
    """
    behind = f"-q {' -q '.join(map(quoted, asked))}" if len(asked) > 1 else quoted(*asked or ["…"])
    if not videos:
        raise UsageError(f"no video: name one, as in `dycoke ask VIDEO {behind}`")
    each = f"`dycoke batch {' '.join(map(quoted, videos))} {behind}` asks about each"
    for video in videos:
        if is_pattern(video) and not os.path.lexists(video):
            raise UsageError(f"{quoted(video)} is a pattern: {each} video that it matches")
        if not os.path.isdir(video) or pictures_of(video) is not None:
            continue
        inside = [*filter(is_video, glob.glob(os.path.join(glob.escape(video), "*")))]
        if len(inside) == len(videos) == 1:
            only = f"`dycoke ask {quoted(inside[0])} {behind}`"
            raise UsageError(f"{quoted(video)} is a folder; about the one video in it: {only}")
        if not os.listdir(video):
            raise UsageError(
                f"{quoted(video)} is an empty folder: name a video, or a folder of pictures"
            )
        raise UsageError(f"{quoted(video)} is a folder: {each} video in it")
    return each
