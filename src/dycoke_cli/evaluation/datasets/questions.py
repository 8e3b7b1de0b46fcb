"""Benchmark from a file with the user's own questions about videos in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.dataset import About, Item, Score, Split
from dycoke_cli.evaluation.folder import AnnotationRow, FolderDataset, read_rows
from dycoke_cli.evaluation.scoring.rules import (
    LETTERS,
    comparable,
    exact_match,
    lettered,
    score_choice,
)
from dycoke_cli.unicode import display_name

_NEEDED = ("video", "question", "answer")
_ALSO = ("options", "category", "id")
_ASK = "Answer with the option's letter from the given choices directly."


class Questions(FolderDataset):
    """Questions of a file; see `Dataset`. `by_type` has their categories.

    A question with options is multiple choice, scored by the letter; one without is open-ended,
    scored by exact match.

    Args:
        folder: folder of the videos, at any depth; None for the folder of the file.
    """

    group: ClassVar[str] = "questions"
    about: ClassVar[About] = About(
        title="Questions of your own",
        splits=("test",),
        questions=0,
        videos=0,
        needs="the videos that the file names",
        source="",
        judge="answer",
    )

    def __init__(self, file: Path, folder: Path | None = None) -> None:
        if not file.is_file():
            what = "isn't a file" if file.exists() else "doesn't exist"
            raise UsageError(
                f"{display_name(file)} {what}: name a file of questions, or a benchmark"
            )
        super().__init__(file.parent if folder is None else folder)
        self._file = file
        # Read at once, so that errors are reported before torch is imported.
        self._items = self._read()

    @property
    @override
    def name(self) -> str:
        """Name of the file."""
        return self._file.name

    @override
    def files(self, split: Split) -> list[Path]:
        return [self._file]

    @override
    def read(self, split: Split) -> list[Item]:
        return self._items

    def _read(self) -> list[Item]:
        rows = read_rows(self._file)
        for row in rows:
            missing = [name for name in _NEEDED if name not in row.fields]
            if missing:
                raise UsageError(
                    f"{row.where} has no {' and no '.join(missing)}: each question needs "
                    f"{', '.join(_NEEDED[:-1])} and {_NEEDED[-1]}"
                )
        self._unknown = {n: None for row in rows for n in row.fields if n not in _NEEDED + _ALSO}
        items: dict[str, Item] = {}
        for number, row in enumerate(rows, 1):
            # One file has one rule: the mean of exact matches and of chosen letters means little.
            if _has_options(row) != _has_options(rows[0]):
                raise UsageError(
                    f"{row.where} has {'' if _has_options(row) else 'no '}options, unlike row 1: "
                    "put questions with options and those without into files of their own"
                )
            item = self._item(number, row)
            if item.id in items:
                raise row.wrong("id", "is that of an earlier row, too")
            items[item.id] = item
        return [*items.values()]

    @override
    def notes(self) -> list[str]:
        """Warning about unknown fields, such as a misspelt one."""
        fields = ", ".join(map(display_name, self._unknown))
        unknown = f"{self.name} has fields that aren't known, and are ignored: {fields}"
        return [unknown] if fields else []

    @override
    def find(self, video: str) -> Path | None:
        """Path of a video: absolute, or below the folder; a file or a folder of images."""
        path = Path(video)
        if path.is_absolute() and path.exists():
            return path
        return self.folder.video(video) or self.folder.directory(video)

    @staticmethod
    @override
    def score(item: Item, said: str) -> Score:
        """Score by the chosen letter if there are options, otherwise by exact match."""
        return score_choice(item, said) if item.options else exact_match(item, said)

    def _item(self, number: int, row: AnnotationRow) -> Item:
        path = self.find(row.text("video"))
        if path is None:
            folder = display_name(self.folder.path)
            raise row.wrong("video", f"isn't below --data {folder}")
        inside = path.is_relative_to(self.folder.path)
        question, answer, options = row.text("question"), row.text("answer"), _options(row)
        if options:
            question = f"{question}\n{lettered(options)}\n{_ASK}"
            answer = _letter(row, answer, options)
        return Item(
            id=row.text("id") if "id" in row.fields else str(number),
            # Normalized, so that rows which spell a path differently share the video.
            video=path.relative_to(self.folder.path).as_posix() if inside else str(path),
            question=question,
            answer=answer,
            kind=str(row.fields.get("category") or ""),
            label="",
            options=options,
        )


def _has_options(row: AnnotationRow) -> bool:
    return bool(row.fields.get("options"))


def _options(row: AnnotationRow) -> tuple[str, ...]:
    given = row.fields.get("options")
    if not given:
        return ()
    if not isinstance(given, str) or given.lstrip().startswith("["):
        options = row.texts("options")
    else:
        options = tuple(option.strip() for option in given.split("|"))
    if not 2 <= len(options) <= len(LETTERS) or not all(options):
        raise row.wrong("options", f"aren't 2 to {len(LETTERS)} texts (in CSV with | between them)")
    return options


def _letter(row: AnnotationRow, answer: str, options: tuple[str, ...]) -> str:
    """Letter of a reference answer that is a letter or the text of an option."""
    text = comparable(answer).strip()
    same = [n for n, option in enumerate(options) if comparable(option).lower() == text.lower()]
    letter = text.strip(" ().").upper()
    if len(same) == 1:
        return LETTERS[same[0]]
    if not same and len(letter) == 1 and letter in LETTERS[: len(options)]:
        return letter
    raise row.wrong("answer", f"is {'several' if same else 'none'} of the options")
