"""`dycoke convert`: answers of a batch as a CSV table, JSON Lines or a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dycoke_cli.cli import render
from dycoke_cli.cli.flags import options
from dycoke_cli.errors import OutputError, UsageError

if TYPE_CHECKING:
    from dycoke_cli.runs.results_table import Field
    from dycoke_cli.runs.time_files import TimeFiles

Lines = Annotated[
    Path,
    typer.Argument(
        metavar="ANSWERS",
        help="Answers in JSON Lines, or a table of `dycoke batch`.",
        show_default=False,
    ),
]
Table = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="New file: a table (.csv, or .parquet, which needs the package pyarrow), JSON Lines "
        "(.jsonl), or times (.srt, .vtt, .edl, .markers.csv, .ffmeta, .chapters.txt). The suffix "
        "alone is a file for each clip.",
        show_default=False,
    ),
]
OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out-dir",
        metavar="DIR",
        help="Folder for the files of FILE .srt and the like, in place of the clips' folders.",
        show_default=False,
    ),
]
Fields = Annotated[
    str | None,
    typer.Option(
        metavar="KEY,…",
        help="Columns, such as id,answer,tokens.visual. Default: those of ANSWERS, if it is "
        "a table, or of a table of `dycoke batch`.",
        show_default=False,
    ),
]

_NO_TABLE = "--fields are columns of a table: leave them out, or {}"


def convert(
    lines: Lines,
    table: Table,
    fields: Fields = None,
    out_dir: OutDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Convert answers to a table or back, or times to subtitles, markers or chapters.

    Examples:
        dycoke convert answers.jsonl answers.csv
        dycoke convert answers.jsonl answers.parquet --fields id,answer,seconds.total
        dycoke convert answers.jsonl dogs.edl

    ANSWERS is what `dycoke batch` and `dycoke ask --json` write. `dycoke batch --out FILE` resumes
    from a CSV table, with the same --fields, and from JSON Lines.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.cli.commands.batch_lines import parse_fields, schema_of_key
    from dycoke_cli.extras import need
    from dycoke_cli.runs.converting import read_answers, write_csv, write_lines, write_parquet
    from dycoke_cli.runs.time_files import FORMATS, TimeFiles
    from dycoke_cli.storage.output_file import check_output_file, check_suffix, unwritable
    from dycoke_cli.unicode import display_name

    times = TimeFiles.at(table, out_dir, "FILE")
    if times is not None:
        if fields is not None:
            raise UsageError(_NO_TABLE.format(table.suffix))
        answers, _ = read_answers(lines, schema_of_key)
        sentence = _write_times(times, answers)
        if not quiet:
            render.note(sentence)
        return
    writers = {
        ".csv": write_csv, ".jsonl": write_lines, ".ndjson": write_lines, ".parquet": write_parquet
    }  # fmt: skip
    check_suffix(table, (*writers, *FORMATS), "FILE")
    name, suffix = display_name(table), table.suffix.lower()
    if fields is not None and writers[suffix] is write_lines:
        raise UsageError(_NO_TABLE.format(suffix))
    if suffix == ".parquet":
        need("pyarrow", "eval", f"{name}, a Parquet file,")
    check_output_file(table, "FILE", "name a file", folder=OutputError)
    if table.exists():
        # It may be a table that a run resumes from, with answers that ANSWERS doesn't have.
        raise OutputError(f"{name} exists, and stays as it is; name another file, or delete it")
    columns = None if fields is None else parse_fields(fields)
    answers, own = read_answers(lines, schema_of_key)
    if own is not None and (missing := [one for one in columns or () if one not in own]):
        raise UsageError(f"{display_name(lines)} has no column {'.'.join(missing[0])}")
    try:
        writers[suffix](table, answers, columns or own or _columns(answers))
    except OSError as error:
        raise OutputError(unwritable(table, error, "file")) from error
    if not quiet:
        render.note(f"{len(answers)} answer{'s' if len(answers) != 1 else ''} in {name}")


def _write_times(times: TimeFiles, answers: Sequence[dict[str, Any]]) -> str:
    """Write the times of answers, by the names of their videos; says how many there are."""
    from dycoke_cli.ask import Footage
    from dycoke_cli.runs.time_files import timed_fields
    from dycoke_cli.storage.output_file import short_name
    from dycoke_cli.video.limits import Limits
    from dycoke_cli.video.sampling import Sampling

    found = [timed_fields(line) for line in answers]
    if not any({"when", "start"} & {*line} for line in found):
        raise UsageError(
            f"{short_name(times.out)} is for times, and these answers have none: ask with --when, "
            "or with --every 30s"
        )
    names = dict.fromkeys(str(line["video"]) for line in found if "video" in line)
    videos = [Footage(name, name, name) for name in names]
    times.check(videos, Sampling(), Limits())
    return times.write(videos, found, Sampling(), Limits())


def _columns(lines: Sequence[dict[str, Any]]) -> list[Field]:
    """The columns of `dycoke batch`; those of parts, if any line is about one."""
    from dycoke_cli.cli.commands.batch_lines import with_parts

    columns = _answer_columns(lines)
    return with_parts(columns) if any({"start", "end"} & {*line} for line in lines) else columns


def _answer_columns(lines: Sequence[dict[str, Any]]) -> list[Field]:
    """The columns of typed answers and of objects, if all of them are; else those of any."""
    from dycoke_cli.cli.commands import batch_lines

    answered = [line for line in lines if "error" not in line]
    if answered and all("probabilities" in line for line in answered):
        options = dict.fromkeys(text for line in answered for text in line["probabilities"])
        is_score = all("mean" in line for line in answered)
        # Options of a score are the same in all lines; open numbers differ, and get no columns.
        if is_score and any(line["probabilities"].keys() != options.keys() for line in answered):
            options = {}
        times = any("when" in line for line in answered)
        return batch_lines.typed_fields(options, is_score, times=times)
    if answered and all(isinstance(line.get("parsed"), dict) for line in answered):
        names = dict.fromkeys(name for line in answered for name in line["parsed"])
        return batch_lines.object_fields(names)
    return batch_lines.parse_fields(batch_lines.CSV_FIELDS)
