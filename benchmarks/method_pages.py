"""What `benchmarks.methods` wrote, for the pages: its tables and its picture; no model is asked."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.method_plot import method_figure
from benchmarks.method_tables import (
    Document,
    ahead_table,
    frames_table,
    full_table,
    layers_table,
    models_table,
    positions_table,
    rows_table,
    short_table,
    vision_table,
    whole_table,
    windows_table,
)
from benchmarks.page import ROOT, put
from dycoke_cli.cli.plotting import write_figure

README, PAGE = ROOT / "README.md", ROOT / "docs" / "methods.md"
PLUS_PAGE = ROOT / "docs" / "dycoke-plus.md"
PICTURE, PICTURES = ROOT / "docs" / "methods.png", ROOT / "docs" / "methods-models.png"
AT = 0.25
"""The budget at which models are put side by side."""

Documents = Mapping[str, Document]
"""Those of one model, by their file's name."""


def read_documents(folder: Path, names: Sequence[str]) -> dict[str, Documents]:
    """The files of some models, by the models' names.

    Raises:
        SystemExit: there are none of a model, or they are of several versions of it.
    """
    models: dict[str, Documents] = {}
    for name in names:
        files = sorted((folder / name).glob("*.json"))
        if not files:
            raise SystemExit(f"{folder / name} has no results; --name {name} makes them")
        documents = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
        if len({one["report"]["model"]["weights"] for one in documents.values()}) > 1:
            raise SystemExit(f"the results in {folder / name} are of several models")
        models[name] = documents
    return models


def under(documents: Collection[Document]) -> str:
    """What all tables say of where their figures come from: a line for each that differs."""
    measured: dict[str, tuple[dict[str, None], set[str]]] = {}
    several = len({document["report"]["frames"] for document in documents}) > 1
    for document in documents:
        report = document["report"]
        frames = "" if several else f", {report['frames']} frames"
        told = (
            f"{report['videos']} videos, {report['rows'][0]['questions']} questions each row, "
            f"{report['split']} split of `shapes`{frames}, {report['model']['dtype']}. "
            f"{document['machine']}, commit"
        )
        names, commits = measured.setdefault(told, ({}, set()))
        names[document["name"]] = None
        commits |= {*report["commits"]}
    lines = [
        ("" if len(measured) == 1 else f"{', '.join(names)}: ")
        + f"{told} {', '.join(sorted(commits)) or 'unknown'}."
        for told, (names, commits) in measured.items()
    ]
    return " ".join(["± is one standard error, paired and clustered by video.", *lines])


def pages_of(models: Mapping[str, Documents]) -> dict[str, str]:
    """Each measured text of the pages by the name of its markers; what wasn't measured is missing.

    Args:
        models: as `read_documents` gives them; the first is the shipped one.
    """
    first, texts = next(iter(models.values())), {}

    def of_run(run: str) -> dict[str, Document]:
        return {name: documents[run] for name, documents in models.items() if run in documents}

    if "budgets" in first:
        measured = of_run("budgets")
        texts["methods"] = f"{short_table(first['budgets'])} {under([first['budgets']])}"
        texts["methods-full"] = "\n\n".join(
            _folded(f"All columns: {name}", f"{full_table(document)}\n\n{under([document])}")
            for name, document in measured.items()
        )
        texts["methods-ahead"] = (
            f"{ahead_table(measured, 'coverage')}\n\n{under(measured.values())}"
        )
        if len(measured) > 1:
            texts["methods-others"] = "\n\n".join(
                _folded(f"The same of the {name}", f"{short_table(document)} {under([document])}")
                for name, document in [*measured.items()][1:]
            )
            table = models_table(measured, AT)
            texts["methods-models"] = f"{table}\n\n{under(measured.values())}"
    for run, table_of in _TABLES.items():
        if measured := of_run(run):
            texts[f"methods-{run}"] = f"{table_of(measured)}\n\n{under(measured.values())}"
    for prefix in ("frames-", "plus-frames-"):
        by_frames = {
            name: {
                document["report"]["frames"]: document
                for run, document in documents.items()
                if run.startswith(prefix)
            }
            for name, documents in models.items()
        }
        if any(by_frames.values()):
            every = [document for one in by_frames.values() for document in one.values()]
            texts[f"methods-{prefix}"[:-1]] = f"{frames_table(by_frames)}\n\n{under(every)}"
    return texts


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


_TABLES = {
    "positions": positions_table,
    "layers": layers_table,
    "windows": windows_table,
    "plus": rows_table,
    "vision": vision_table,
    "whole": whole_table,
}


def write_pages(folder: Path, names: Sequence[str], write: bool) -> None:
    """Print all tables of some models; with `write`, put them into the pages.

    Args:
        folder: with a folder of JSON files for each model.
        names: of the models, the shipped one first.
        write: into each page that has the markers of a table; the picture beside them.
    """
    models = read_documents(folder, names)
    into = PICTURE.parent if write else folder
    for picture, figure in _pictures(models).items():
        write_figure(figure, into / picture)
        print(f"wrote {into / picture}", file=sys.stderr)
    for name, text in pages_of(models).items():
        print(f"\n<!-- {name} -->\n{_with_picture(name, text, README)}")
        if write:
            having = [page for page in (README, PAGE, PLUS_PAGE) if _has_place(name, page)]
            for page in having:
                put(_with_picture(name, text, page), name, page)
            into = ", ".join(page.name for page in having) or "no page, for none has its markers"
            print(f"{name}: into {into}", file=sys.stderr)


def _with_picture(name: str, text: str, page: Path) -> str:
    """A text with the picture that goes with it, where it has one."""
    picture = {"methods": PICTURE, "methods-others": PICTURES}.get(name)
    if picture is None:
        return text
    link = os.path.relpath(picture, page.parent)
    return f"![Correct answers over the visual tokens kept, by method]({link})\n\n{text}"


def _pictures(models: Mapping[str, Documents]) -> dict[str, Figure]:
    """By file name: that of the first model, and that of all, where there are several."""
    rows = {
        name: documents["budgets"]["report"]["rows"]
        for name, documents in models.items()
        if "budgets" in documents
    }
    first = next(iter(models))
    pictures = {}
    if first in rows:
        pictures[PICTURE.name] = method_figure({first: rows[first]})
    if len(rows) > 1:
        pictures[PICTURES.name] = method_figure(rows)
    return pictures


def _has_place(name: str, page: Path) -> bool:
    content = page.read_text(encoding="utf-8")
    return f"<!-- {name}: " in content and f"<!-- /{name} -->" in content
