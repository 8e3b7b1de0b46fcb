"""CSV as spreadsheet programs save it: their encodings, separators and line ends."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

WINDOWS = "Windows-1252"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
# Windows-1252 gives almost every byte a character. These are in binary files, not in text.
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f]")
_SEPARATORS = ",;\t"
_SEPARATOR_LINE = re.compile(r'\A"?sep=([,;\t])"?[,;\t]*(?:\r\n|\r|\n)', re.IGNORECASE)


class NotCsvError(ValueError):
    """A quotation mark is missing, or is where none may be.

    Attributes:
        line: number of the line in the file, from 1.
    """

    def __init__(self, why: str, line: int) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True)
class SheetRow:
    """A row of a table."""

    line: int  # number of its first line in the file, from 1
    cells: list[str]  # their texts


def decode(content: bytes) -> tuple[str, str]:
    """Decode a text file: UTF-16 with a byte order mark, UTF-8, or else Windows-1252.

    Returns:
        The text, and the name of the encoding.
    """
    if content.startswith(_UTF16):
        return content.decode("utf-16"), "UTF-16"
    try:
        return content.decode("utf-8-sig"), "UTF-8"
    except UnicodeDecodeError as error:
        if not _BINARY.search(content):
            # Five bytes have no character.
            text = content.decode("cp1252", errors="ignore")
            if len(text) == len(content):
                return text, WINDOWS
        raise error


def separator_of(text: str, known: Collection[str]) -> str:
    """What separates the cells of a table: comma, semicolon or tab.

    A first line such as `sep=;` names it. Otherwise, it is the one with which the header has most
    of the known columns; the comma, if they have equally many.
    """
    if (named := _SEPARATOR_LINE.match(text)) is not None:
        return named[1]

    def columns(separator: str) -> int:
        try:
            header = next(rows(text, separator)).cells
        except (StopIteration, NotCsvError):
            return 0
        return len({cell.strip().casefold() for cell in header} & {*known})

    return max(_SEPARATORS, key=columns)


def rows(text: str, separator: str) -> Iterator[SheetRow]:
    """The rows of a table that have any text, in the file's order."""
    begins = 1
    if (named := _SEPARATOR_LINE.match(text)) is not None:
        text, begins = text[named.end() :], 2
    before = begins - 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            line, begins = begins, before + reader.line_num + 1
            if any(cell.strip() for cell in cells):
                yield SheetRow(line, cells)
    except csv.Error as error:
        raise NotCsvError(str(error), before + reader.line_num) from error
