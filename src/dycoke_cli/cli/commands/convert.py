"""`dycoke convert`: answers in JSON Lines as a table, or their times as subtitles and the like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dycoke_cli.cli import render
from dycoke_cli.cli.flags import shared_flags
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.output_formats import TABLES, TIMES

if TYPE_CHECKING:
    from dycoke_cli.runs.time_files import TimeFiles

_FLAGS = shared_flags.flag_table(f"""
    ANSWERS: Answers in JSON Lines.
    FILE: New file: a table ({", ".join(TABLES)}; the last needs the package pyarrow), or times
        ({", ".join(TIMES)}). The suffix alone is a file for each clip.
    --out-dir DIR: Folder for the files of FILE .srt and the like, in place of the clips' folders.
    --fields KEY,…: Columns, such as id,answer,tokens.visual. Default: what the answers have.
""")


def convert(
    lines: Annotated[Path, _FLAGS["ANSWERS"]],
    table: Annotated[Path, _FLAGS["FILE"]],
    fields: Annotated[str | None, _FLAGS["--fields"]] = None,
    out_dir: Annotated[Path | None, _FLAGS["--out-dir"]] = None,
    quiet: shared_flags.Quiet = False,
) -> None:
    """Convert answers to a table, or times to subtitles or markers.

    Examples:
        dycoke convert answers.jsonl answers.csv
        dycoke convert answers.jsonl answers.parquet --fields id,answer,seconds.total
        dycoke convert answers.jsonl dogs.srt

    ANSWERS is what `dycoke batch`, `ask --json` and `caption --out` write.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.runs.output_formats import made_at
    from dycoke_cli.runs.tables import current, read_answers
    from dycoke_cli.runs.time_files import TimeFiles

    answers = current(found := read_answers(lines))
    made = made_at(table, out_dir, "FILE", (*TABLES, *TIMES))
    assert made is not None, "none of these has the answers themselves"
    if isinstance(made, TimeFiles):
        if fields is not None:
            raise UsageError(f"--fields are columns of a table: leave them out, or {table.suffix}")
        sentence = _write_times(made, answers)
    else:
        made = replace(made, fields=None if fields is None else _parsed(fields))
        made.check(resumes=False)
        sentence = made.write(answers)
    if left := len(found) - len(answers):
        sentence += f"; left out {left:,} about earlier contents of the videos' files"
    if not quiet:
        render.note(sentence)


def _write_times(times: TimeFiles, answers: Sequence[dict[str, Any]]) -> str:
    """Write the times of answers, by the names of their videos; says how many there are."""
    from dycoke_cli.ask import Footage
    from dycoke_cli.storage.output_file import short_name
    from dycoke_cli.video.limits import Limits
    from dycoke_cli.video.sampling import Sampling

    if not any({"when", "start"} & {*line} for line in answers):
        raise UsageError(
            f"{short_name(times.out)} is for times, and these answers have none: ask with --when, "
            "or with --every 30s"
        )
    names = dict.fromkeys(str(line["video"]) for line in answers if "video" in line)
    videos = [Footage(name, name, name) for name in names]
    times.check(videos)
    return times.write(videos, answers, Sampling(), Limits())


def _parsed(given: str) -> list[tuple[str, ...]]:
    """Parse a list of key paths of an answer."""
    from dycoke_cli.answer.answer import SCHEMA, answer_parts
    from dycoke_cli.answer.json_schema import schema_of
    from dycoke_cli.runs.tables import fields_of

    kinds = schema_of(SCHEMA, "", answer_parts())["$defs"].values()
    for field in (fields := fields_of(given)):
        if not any(_has(schema, field) for schema in kinds):
            raise UsageError(
                f"--fields: an answer has no key {'.'.join(field)!r}; `dycoke schema answer` has "
                "them all"
            )
    return fields


def _has(schema: dict[str, Any], field: tuple[str, ...]) -> bool:
    for key in field:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        # An open object, such as a method's parameters, may have any key.
        if key not in properties and (others is False or schema.get("type") == "null"):
            return False
        schema = properties.get(key, others)
    return True
