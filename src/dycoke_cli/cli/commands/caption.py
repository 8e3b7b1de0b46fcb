"""`dycoke caption`: a caption for each clip and picture, written where trainers read it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dycoke_cli.cli import output, pages
from dycoke_cli.cli.commands.ask import BUNDLED_NOTE
from dycoke_cli.cli.commands.batch import check_subtitles
from dycoke_cli.cli.flags import asker_flags, request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import speaking_of_flags, spread
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.ask import Footage
    from dycoke_cli.cli.render.batch_view import CaptionView
    from dycoke_cli.runs.caption_files import CaptionFiles, OneFile
    from dycoke_cli.runs.run import Group


_FLAGS = shared_flags.flag_table(
    """
    FOLDER…: Folders, clips and pictures, a pattern, or a text file with one path per line.
    --prompt NAME|TEXT: short, detailed, motion, tags, or a text of your own.
    --out FILE: Also put all captions into one file of JSON Lines (.jsonl), when the run ends.
    --out-dir DIR: Folder for the .txt files, with FOLDER's subfolders.
    --dry-run: List the captions that would be written, and exit.
    --overwrite: Replace captions that this command wrote. Edited ones stay (--overwrite-edited).
    --trigger WORD: Put this word and a comma in front, once.
    --max-words N: Cut the caption after so many words, at the end of a sentence if one ends.
    [Output]
    --key PATH[,CAPTION]: Keys of the path and of the caption in the one file, as in --key
        media_path. Needs --out.
    --absolute: Absolute paths in the one file. Default: relative to its folder. Needs --out.
    --overwrite-edited: Replace all captions, also those that you edited or another program wrote.
    [Caption]
    --raw: Keep all that the model says. By default thinking, Markdown, quotes and words such as
        “The video shows” are stripped.
    """,
    {"--max-words": {"min": 1}},
)


@dataclass(frozen=True)
class Where:
    """Flags of the files that captions are written to."""

    out: Annotated[Path | None, _FLAGS["--out"]] = None
    out_dir: Annotated[Path | None, _FLAGS["--out-dir"]] = None
    key: Annotated[str, _FLAGS["--key"]] = "video_path,caption"
    absolute: Annotated[bool, _FLAGS["--absolute"]] = False
    dry_run: Annotated[bool, _FLAGS["--dry-run"]] = False


BRIEF = """
    --prompt --trigger --max-words --out --out-dir --overwrite
    --dry-run --model
"""


@spread
def caption(
    *,
    places: Annotated[list[str], _FLAGS["FOLDER…"]],
    prompt: Annotated[str, _FLAGS["--prompt"]] = "short",
    trigger: Annotated[str, _FLAGS["--trigger"]] = "",
    max_words: Annotated[int | None, _FLAGS["--max-words"]] = None,
    raw: Annotated[bool, _FLAGS["--raw"]] = False,
    where: Where,
    overwrite: Annotated[bool, _FLAGS["--overwrite"]] = False,
    overwrite_edited: Annotated[bool, _FLAGS["--overwrite-edited"]] = False,
    how: request_flags.Questioning,
    by: asker_flags.RunFlags,
    estimate: shared_flags.Estimate = False,
    quiet: shared_flags.Quiet = False,
    help_all: pages.HelpAll = False,
    context: typer.Context,
) -> None:
    """Write a caption for each clip and picture of a folder.

    Examples:
        dycoke caption clips --prompt detailed --trigger ohwx
        dycoke caption clips --out clips/captions.jsonl --key media_path

    What has a caption is skipped, so the same command resumes. Exit code 1: some failed.
    """
    # Imported late: PyAV, NumPy and rich's bars are slow to import.
    from dycoke_cli.answer.caption import CaptionStyle, words
    from dycoke_cli.ask import Ask
    from dycoke_cli.cli.commands import caption_text
    from dycoke_cli.cli.commands.batch_files import videos_at
    from dycoke_cli.cli.commands.caption_text import question_about
    from dycoke_cli.cli.commands.estimate import show_cost_of_run
    from dycoke_cli.cli.render.batch_view import CaptionView
    from dycoke_cli.loop.in_windows import check_windows
    from dycoke_cli.runs.caption_files import CUT_OUT, CaptionResults
    from dycoke_cli.runs.journal import locked
    from dycoke_cli.runs.run import RunProgress, run
    from dycoke_cli.storage.made_files import MadeFiles

    by.check()
    request = how.whole_request()
    with speaking_of_flags():
        check_windows(request)
    remote = by.server.chosen(context, request, how.model)
    caption_text.check_prompt(prompt)
    style = CaptionStyle(trigger=trigger.rstrip(", "), max_words=max_words, raw=raw)
    if max_words is not None and max_words <= (taken := len(words(trigger))):
        raise UsageError(
            f"--max-words {max_words} leaves no word behind --trigger {display_name(trigger)}: "
            f"--max-words {taken + 40}"
        )
    videos = videos_at(places, stills=True).videos
    check_subtitles(videos, how.subtitles)
    with ExitStack() as stack:
        view = stack.enter_context(CaptionView(quiet))
        files, one_file = _files(videos, where)
        videos = _apart(videos, files, view)
        hashes = MadeFiles()

        settings = f"{prompt} {replace(style, max_words=None).identity}"
        limits = f"{request.generation.max_tokens} {max_words}"

        def replaces(video: Footage, current: str | None) -> bool:
            return (
                current is None
                or overwrite_edited
                or (overwrite and bool(hashes.ways(files.path(video), current)))
                or files.is_cut(video, hashes, limits)
            )

        wanted = dict.fromkeys(video for video in videos if replaces(video, files.current(video)))
        others = [video for video in videos if video not in wanted]
        files.check_part(others, hashes, request.sampling)
        if unlike := sum(files.is_unlike(video, hashes, settings) for video in others):
            view.note(
                f"{unlike:,} of the captions that stay had another --prompt, --trigger or --raw: "
                "--overwrite writes them anew"
            )
        skipped, edited = (0, len(others)) if overwrite else (len(others), 0)
        asks = {
            id_: Ask(question_about(video, prompt), request, (video,), id=id_)
            for id_, video in ((os.fsencode(video.place).hex(), video) for video in wanted)
        }
        if where.dry_run:
            for video in wanted:
                output.line(display_name(os.path.relpath(files.path(video))))
            view.dry(len(wanted), caption_text.PROMPTS.get(prompt, prompt))
            return
        results = CaptionResults(files, hashes, asks, settings, limits, replaces, view.warning)
        groups, failed = [(ask,) for ask in asks.values()], 0
        if asks and (request.sampling.start_s or request.sampling.end_s):
            view.note(f"trainers see the whole clip: {CUT_OUT.format('CLIP')}")
        if asks and how.named is None and remote is None:
            if prompt in caption_text.PROMPTS:
                raise UsageError(caption_text.SHAPES_ONLY)
            view.note(BUNDLED_NOTE)
        if estimate:
            missing: Iterable[Group] = groups
            if overwrite or overwrite_edited:  # else all that are asked for have none
                plan, _ = by.plan(request, remote, view, stack)
                missing = RunProgress(groups, plan, results).left()
            show_cost_of_run(request.model, missing, view)
            return
        try:
            if asks:
                # By its first file: runs of the same clips would answer each of them twice.
                stack.enter_context(locked(files.path(videos[0]), "--out-dir"))
                view.stage("start")
                plan, open_asker = by.plan(request, remote, view, stack)
                counts = run(
                    groups,
                    plan,
                    results,
                    open_asker,
                    view,
                    line=caption_text.Captioned(style, asks),
                    fail_fast=by.fail_fast,
                )
                failed = counts.failed + len(results.stayed)
                skipped += counts.skipped
            if one_file is not None:
                one_file.write(videos, files)
        except (KeyboardInterrupt, SystemExit, DycokeError):  # by SIGTERM, too
            view.ended_early(len(results.written))
            raise
        view.ended(
            [*results.written.values()],
            files.where if results.written else "",
            skipped=skipped,
            edited=edited,
            failed=failed,
        )
    if failed:
        raise typer.Exit(1)


def _files(videos: Sequence[Footage], where: Where) -> tuple[CaptionFiles, OneFile | None]:
    """The files that the flags choose, checked."""
    from dycoke_cli.runs.caption_files import CaptionFiles, OneFile
    from dycoke_cli.storage.output_file import check_suffix

    files = CaptionFiles(where.out_dir)
    files.check(videos)
    if where.out is None:
        return files, None
    check_suffix(where.out, (".jsonl",), "--out")
    keys = tuple(one.strip() for one in where.key.split(","))
    keys = (*keys, "caption") if len(keys) == 1 else keys
    if len(keys) != 2 or not all(keys) or keys[0] == keys[1]:
        raise UsageError(f"--key {where.key!r}: give one key or two, as in --key media_path,text")
    one_file = OneFile(where.out, (keys[0], keys[1]), where.absolute)
    one_file.check(videos)
    return files, one_file


def _apart(videos: Sequence[Footage], files: CaptionFiles, view: CaptionView) -> list[Footage]:
    """The videos that have a caption of their own; a note tells of the others."""
    first: dict[Path, Footage] = {}
    shared: list[tuple[Footage, Footage]] = []
    for video in videos:
        if (other := first.setdefault(files.path(video), video)) is not video:
            shared.append((video, other))
    if shared:
        (video, other), *more = shared
        others = f", and {len(more):,} more" if more else ""
        view.note(
            f"{display_name(video.name)} has the caption file of {display_name(other.name)}"
            f"{others}: the first is captioned"
        )
    return [*first.values()]
