"""`dycoke ask`: answers questions about a video."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Sequence
from typing import Any

import typer

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.flags import question_flags, request_flags, shared_flags
from dycoke_cli.cli.flags.arguments import apart, has_suffix, is_pattern, questions_of, quoted
from dycoke_cli.cli.flags.asker_flags import AskerFlags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.files import STDIN, is_video

BUNDLED_NOTE = (
    "Using the bundled demo model, which only understands synthetic clips of moving shapes. "
    "For real videos: --model llava-onevision-0.5b (or DYCOKE_MODEL in the environment)."
)
BRIEF = (
    f"{request_flags.BRIEF} --question --start --end --every --when --choices --yes-no --compare "
    "--estimate --json"
)


@spread
def ask(
    *,
    video: shared_flags.VideosArgument,
    words: shared_flags.QuestionArgument = None,
    more: shared_flags.Questions = None,
    how: request_flags.Questioning,
    parts: question_flags.OneVideoFlags,
    typed: question_flags.TypedFlags,
    by: AskerFlags,
    follow_up: shared_flags.FollowUp = False,
    compare: shared_flags.Compare = False,
    estimate: shared_flags.Estimate = False,
    stats: shared_flags.Stats = False,
    as_json: shared_flags.Json = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Answer questions about a video, or about several together.

    Examples:
        dycoke ask holiday.mp4 "What happens?"
        dycoke ask talk.mkv -q "Who speaks?" -q "What about?" --follow-up --end 5:00
        dycoke ask hour.mp4 "Is a person there?" --yes-no --every 30s --json

    The answer goes to stdout as it is generated; progress, statistics and warnings go to stderr.
    """
    # Imported late, as below: help and completion need the flags alone.
    from dycoke_cli.answer.answer import SCHEMA
    from dycoke_cli.cli.commands.presenter import AsJson, AsText
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.video.pictures import as_named, sources

    # With --json a failure prints an error object for each unanswered question. Until the questions
    # are parsed, the words of the command line stand for them.
    unanswered: list[dict[str, Any]] = [{"video": video, "question": " ".join(words or []) or None}]
    with contextlib.ExitStack() as stack:
        stack.enter_context(output.failures_as_json(as_json, SCHEMA, unanswered))
        names, question = apart([video, *(words or [])])
        videos = as_named(names)
        if question and more and _is_unquoted([*more, *(words or [])]):
            meant = quoted(" ".join([*more, question]))
            raise UsageError(f"put the whole question in quotes: -q {meant}")
        asked = [*([question] if question else []), *(more or [])]
        batch_hint = _check(videos, asked, estimate)
        single = {"--estimate": estimate, "--subtitles": how.subtitles}
        files = sources(videos)
        if len(files) > 1 and (flag := next((f for f in single if single[f]), None)):
            raise UsageError(f"{flag} takes one video")
        if len(files) > 1 and by.server.server:
            raise UsageError(
                "--server takes one video, for a request has the times of the frames of one; leave "
                "the others out"
            )
        request = typed.applied(how.whole_request(), yes_no=parts.when)
        with speaking_of_flags():
            check_windows(request, len(files), whole=compare)
        remote = by.server.chosen(context, request, how.model)
        if compare:
            request_flags.check_comparable(request)
        parts.check(request, files, asked)
        if estimate:
            from dycoke_cli.cli.commands.estimate import cost_of_video, plan_of_video, show_cost

            known = question is not None or more
            questions = questions_of(question, more, *videos) if known else []
            plan = plan_of_video(files[0], request)
            show_cost(cost_of_video(files[0], plan, request, questions), as_json)
            return
        questions = questions_of(question, more, *videos)
        if follow_up and len(questions) < 2:
            raise UsageError("--follow-up needs two questions or more, as in -q … -q …")
        unanswered[:] = [{"video": videos[0], "question": text} for text in questions]
        note = BUNDLED_NOTE if how.named is None and remote is None else None
        if len(files) > 1:
            note = f"Asking about {len(videos)} videos together; {batch_hint}"
        note = None if quiet else note
        presenter = stack.enter_context(
            AsJson(unanswered, quiet, note)
            if as_json
            else AsText(len(questions), quiet, note, stats)
        )
        # The progress display starts before torch is imported, which takes seconds.
        presenter.stage("start")
        from dycoke_cli.runs.converse import asks_of, converse

        with speaking_of_flags():
            keep = int(len(questions) > 1)
            found = by.asker(request, remote, presenter, videos=len(files), keep=keep)
            asker = stack.enter_context(found)
            asks = asks_of(videos, questions, request, compare=compare)
            if parts.given is None:
                converse(asker, asks, presenter, follow_up=follow_up)
                return
            parts.converse(asker, asks, presenter)


def _is_unquoted(words: Sequence[str]) -> bool:
    """Whether a question after -q, and the words behind it, are one: of `-q What happens?`."""
    first, *others = words
    is_question = first == STDIN or first.endswith("?")
    # A question of its own would begin with a capital, or with something else than a letter.
    goes_on = bool(others) and others[0][:1].islower()
    return not is_question and goes_on and not any(" " in word for word in words)


def _check(videos: Sequence[str], questions: Sequence[str], estimate: bool) -> str:
    """Check that the arguments are videos, not patterns or folders (except folders of pictures)."""
    from dycoke_cli.runs.discovery import find
    from dycoke_cli.video.files import open_file
    from dycoke_cli.video.pictures import pictures_of

    question_args = (
        f"-q {' -q '.join(map(quoted, questions))}"
        if len(questions) > 1
        else quoted(*questions or ["…"])
    )
    question_args += " --estimate" if estimate else ""
    if not videos:
        raise UsageError(f"no video: name one, as in `dycoke ask VIDEO {question_args}`")
    batch_hint = f"`dycoke batch {' '.join(map(quoted, videos))} {question_args}` asks about each"
    for video in videos:
        if is_pattern(video) and not os.path.lexists(video):
            raise UsageError(f"{quoted(video)} is a pattern: {batch_hint} video that it matches")
        # A word beside a quoted question counts as a video. This one can't be meant as one.
        if len(videos) > 1 and not (video == STDIN or has_suffix(video) or os.path.lexists(video)):
            try:
                open_file(video)
            except VideoError as error:
                raise VideoError(f"{error}, or put the whole question in quotes") from error
        if not os.path.isdir(video) or pictures_of(video) is not None:
            continue
        videos_inside = [*filter(is_video, glob.glob(os.path.join(glob.escape(video), "*")))]
        if len(videos_inside) == len(videos) == 1:
            command = f"`dycoke ask {quoted(*videos_inside)} {question_args}`"
            raise UsageError(f"{quoted(video)} is a folder; about the one video in it: {command}")
        if not os.listdir(video):
            raise UsageError(
                f"{quoted(video)} is an empty folder: name a video, or a folder of pictures"
            )
        find(video)  # raises where there is none in it
        raise UsageError(f"{quoted(video)} is a folder: {batch_hint} video in it")
    return batch_hint
