"""The tables and pictures of the answers in `docs/data`, for the pages; no model is asked."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.method_figures import document_of
from benchmarks.method_plot import method_figure
from benchmarks.method_tables import (
    Document,
    ahead_table,
    developed_on,
    frames_table,
    full_table,
    headline,
    layers_table,
    models_table,
    positions_table,
    readme_table,
    rows_table,
    short_table,
    vision_table,
    whole_table,
    windows_table,
)
from benchmarks.page import ROOT, put
from benchmarks.raw_answers import SUFFIX, read_answers
from benchmarks.shapes import kinds_table
from dycoke_cli.cli.plotting import write_figure

PAGES = [
    ROOT / page
    for page in ("README.md", "docs/methods.md", "docs/dycoke-plus.md", "docs/shapes.md")
]
PICTURE, PICTURES = ROOT / "docs" / "methods.png", ROOT / "docs" / "methods-models.png"
FIRST = "shipped"
"""The model whose tables stand first."""
AT = 0.25
"""The budget at which models are put side by side."""

FEW_TOKENS = (
    "At a tenth of 16 tokens per frame 1 or 2 are left: FlashVID and FastVID merge nothing then, "
    "VisionZip only in frames with 2, and PruMerge and PruMerge+ read the same tokens."
)
"""What the budgets do to methods that merge: under each table of them."""

Documents = Mapping[str, Document]
"""Those of one model, by their table's name."""


def read_documents(folder: Path) -> dict[str, Documents]:
    """The figures of all models, by the models' names: the shipped one first.

    Raises:
        SystemExit: there is none, or one of several versions.
    """
    models: dict[str, dict[str, Document]] = {}
    for path in sorted(
        folder.glob(f"*/*{SUFFIX}"), key=lambda path: (path.parent.name != FIRST, path)
    ):
        document = document_of(read_answers(path))
        models.setdefault(path.parent.name, {})[document["table"]] = document
    if not models:
        raise SystemExit(f"{folder} has no answers; `python -m benchmarks.methods` asks")
    for name, documents in models.items():
        if len({one["model"]["weights"] for one in documents.values()}) > 1:
            raise SystemExit(f"the answers in {folder / name} are of several models")
    return models


def under(documents: Collection[Document]) -> str:
    """What all tables say of where their figures come from: a line for each that differs."""
    measured: dict[str, tuple[dict[str, None], set[str]]] = {}
    several = len({document["frames"] for document in documents}) > 1
    for document in documents:
        frames = "" if several else f", {document['frames']} frames"
        told = (
            f"{document['videos']} videos, {document['rows'][0]['questions']} questions each row, "
            f"{document['split']} split of `shapes`{frames}, {document['model']['dtype']}. "
            f"{document['machine']}, commit"
        )
        names, commits = measured.setdefault(told, ({}, set()))
        names[document["name"]] = None
        commits |= {*document["commits"]}
    lines = [
        ("" if len(measured) == 1 else f"{', '.join(names)}: ")
        + f"{told} {', '.join(sorted(commits)) or 'unknown'}."
        for told, (names, commits) in measured.items()
    ]
    return " ".join(["± is one standard error, paired and clustered by video.", *lines])


def of_budgets(documents: Collection[Document]) -> str:
    """What tables of budgets say beside that."""
    return f"{FEW_TOKENS} {under(documents)}"


def pages_of(models: Mapping[str, Documents]) -> dict[str, str]:
    """Each measured text of the pages by the name of its markers; what wasn't measured is missing.

    Args:
        models: as `read_documents` gives them.
    """
    first, texts = next(iter(models.values())), {}

    def of_run(run: str) -> dict[str, Document]:
        return {name: documents[run] for name, documents in models.items() if run in documents}

    if "budgets" in first:
        measured = of_run("budgets")
        texts["methods"] = f"{short_table(first['budgets'])} {of_budgets([first['budgets']])}"
        texts["methods-full"] = "\n\n".join(
            _folded(f"All columns: {name}", f"{full_table(document)}\n\n{of_budgets([document])}")
            for name, document in measured.items()
        )
        texts["methods-ahead"] = f"{ahead_table(measured)}\n\n{of_budgets(measured.values())}"
        if len(measured) > 1:
            texts["methods-others"] = "\n\n".join(
                _folded(
                    f"The same of the {name}", f"{short_table(document)} {of_budgets([document])}"
                )
                for name, document in [*measured.items()][1:]
            )
            table = models_table(measured, AT)
            texts["methods-models"] = f"{table}\n\n{of_budgets(measured.values())}"
    if "kinds" in first:
        texts["methods-kinds"] = f"{kinds_table(first['kinds'])}\n\n{under([first['kinds']])}"
    for run, table_of in _TABLES.items():
        if measured := of_run(run):
            texts[f"methods-{run}"] = f"{table_of(measured)}\n\n{under(measured.values())}"
    if "whole" in first:
        whole = of_run("whole")
        texts["headline"] = headline(whole)
        if "validation" in first:
            told = developed_on(first["validation"], first["whole"])
            texts["methods-validation"] = f"{told}\n\n{texts['methods-validation']}"
        texts["readme"] = f"{readme_table(whole)}\n\n{under(whole.values())}"
    for prefix in ("frames-", "plus-frames-"):
        by_frames = {
            name: {
                document["frames"]: document
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
    "validation": whole_table,
    "larger": whole_table,
}


def write_pages(folder: Path, write: bool) -> None:
    """Print all tables; with `write`, put them and the pictures into the pages.

    Args:
        folder: with a folder of answers for each model.
        write: into each page that has the markers of a table; the pictures beside them.
    """
    models = read_documents(folder)
    texts = pages_of(models)
    for name, text in texts.items():
        print(f"\n<!-- {name} -->\n{text}")
    if not write:
        return
    for picture, figure in _pictures(models).items():
        write_figure(figure, picture)
        print(f"wrote {picture}", file=sys.stderr)
    for page in PAGES:
        for name in places(page):
            if name not in texts:
                raise SystemExit(f"{page} has a place for {name}, and {folder} no answers of it")
            put(on_page(name, texts[name], page), name, page)
            print(f"{name}: into {page}", file=sys.stderr)


def places(page: Path) -> list[str]:
    """The names of the texts that a page has markers of."""
    marker = r"<!-- (headline|readme|methods[\w-]*): "
    return re.findall(marker, page.read_text(encoding="utf-8"))


def on_page(name: str, text: str, page: Path) -> str:
    """A text with the picture that goes with it, where it has one."""
    picture = {"methods": PICTURE, "methods-others": PICTURES}.get(name)
    if picture is None:
        return text
    link = os.path.relpath(picture, page.parent)
    return f"![Correct answers over the visual tokens kept, by method]({link})\n\n{text}"


def _pictures(models: Mapping[str, Documents]) -> dict[Path, Figure]:
    """By file: that of the first model, and that of all, where there are several."""
    rows = {
        name: documents["budgets"]["rows"]
        for name, documents in models.items()
        if "budgets" in documents
    }
    pictures = {PICTURE: method_figure({FIRST: rows[FIRST]})} if FIRST in rows else {}
    if len(rows) > 1:
        pictures[PICTURES] = method_figure(rows)
    return pictures
