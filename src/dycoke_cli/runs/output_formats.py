"""Formats of answers by the suffix of a file, for `batch --out` and `dycoke convert`.

A new one is a row here and a function that makes the content: of a table by columns and answers, of
times by videos with their markers. Imports neither: help pages list the suffixes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.storage.output_file import check_output_file, check_suffix

if TYPE_CHECKING:
    from dycoke_cli.runs.tables import TableFile
    from dycoke_cli.runs.time_files import TimeFiles

_HERE = "dycoke_cli.runs"
FORMATS = {
    ".jsonl": ("batch_journal", ""),
    ".ndjson": ("batch_journal", ""),
    ".csv": ("tables", "csv_of"),
    ".parquet": ("tables", "parquet_of"),
    ".srt": ("time_files", "srt"),
    ".vtt": ("time_files", "vtt"),
    ".markers.csv": ("time_files", "markers_csv"),
}
"""Module and function by suffix; no function where a run appends the answers themselves."""


def _of(module: str) -> tuple[str, ...]:
    return tuple(suffix for suffix, (home, _) in FORMATS.items() if home == module)


ANSWERS, TABLES, TIMES = map(_of, ("batch_journal", "tables", "time_files"))


def maker(suffix: str) -> Callable[..., Any]:
    """The function that makes the content of a file."""
    module, name = FORMATS[suffix]
    made: Callable[..., Any] = getattr(import_module(f"{_HERE}.{module}"), name)
    return made


def made_at(
    path: Path | None, folder: Path | None, flag: str, suffixes: Collection[str] = FORMATS
) -> TableFile | TimeFiles | None:
    """What makes a file of answers; None for a file of the answers themselves, and for stdout.

    Args:
        folder: has the files in place of the videos' folders.
        flag: that names the path, for errors.
        suffixes: that are possible there.
    """
    from dycoke_cli.runs.tables import TableFile
    from dycoke_cli.runs.time_files import TimeFiles

    name = "" if path is None else path.name.lower()
    # The longest: `.markers.csv` ends in `.csv`.
    suffix = max(filter(name.endswith, FORMATS), key=len, default="")
    times = None
    if path is not None and suffix in TIMES:
        times = TimeFiles(path, suffix, maker(suffix), folder, flag)
    if folder is not None and not (times and times.per_video):
        example = suffix if times else TIMES[0]
        raise UsageError(
            f"--out-dir is for a file for each clip, as in {flag} {example}: leave it out"
        )
    if path is None or times is not None:
        return times
    check_output_file(path, flag, "name a file", folder=OutputError)
    check_suffix(path, [*suffixes], flag)
    return TableFile(path, maker(suffix)) if suffix in TABLES else None
