"""Writes into docs/reference.md every command's help and the exit codes, as the code has them.

`python -m benchmarks.cli_page` writes it; a test holds the page to the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from benchmarks.page import ROOT, put
from dycoke_cli import errors
from dycoke_cli.cli.app import app
from dycoke_cli.cli.output import Interrupted
from dycoke_cli.cli.pages import HelpRow, Page, Panel, page_of
from dycoke_cli.errors import DycokeError

PAGE = ROOT / "docs" / "reference.md"
_SIGNALS = (
    (129, "Hung up (SIGHUP)."),
    (141, "The reader closed stdout (SIGPIPE), as in `| head`."),
    (143, "Terminated (SIGTERM)."),
)


def text() -> str:
    """The sections of all commands, and the exit codes, as Markdown."""
    root: Any = typer.main.get_command(app)
    pages = [*_pages(root, root.make_context("dycoke", []))]
    first = {
        row: _name(page) for page in pages[::-1] for panel in page.panels for row in panel.rows
    }
    return "\n".join([*(_section(page, first) for page in pages), _exit_codes()])


def _pages(command: Any, context: Any) -> Iterator[Page]:
    """The page of a command, then those of its subcommands."""
    yield page_of(command, context)
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            inner: Any = command.resolve_command(context, [name])[1]
            yield from _pages(inner, type(context)(inner, info_name=name, parent=context))


def _name(page: Page) -> str:
    return page.usage.split(" [")[0].split(" COMMAND")[0]


def _section(page: Page, first: Mapping[HelpRow, str]) -> str:
    """A command. What an earlier one has in the same words is named, and told there."""
    name = _name(page)
    blocks = [f"### {name}", page.summary, f"```console\n$ {page.usage}\n```"]
    if page.examples:
        blocks.append(
            "Examples:\n\n```console\n" + "\n".join(f"$ {e}" for e in page.examples) + "\n```"
        )
    blocks += [_escaped(paragraph) for paragraph in page.details]
    told: dict[str, list[str]] = {}
    for panel in page.panels:
        own = tuple(row for row in panel.rows if first[row] == name)
        blocks += [_table(replace(panel, rows=own))] if own else []
        for row in panel.rows:
            if first[row] != name and row.name != "-h, --help":  # which all have
                told.setdefault(first[row], []).append(f"`{row.name}`")
    blocks += [
        f"As of [{command}](#{command.replace(' ', '-')}): {', '.join(names)}."
        for command, names in told.items()
    ]
    return "\n\n".join(blocks) + "\n"


def _table(panel: Panel) -> str:
    rows = [f"| `{_cell(row.name)}` | {_cell(_escaped(row.help))} |" for row in panel.rows]
    return "\n".join([f"| {panel.title} | |", "|---|---|", *rows])


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code with its meaning, ascending."""
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    codes = {kind.exit_code: _first_line(kind) for kind in kinds if "exit_code" in vars(kind)}
    codes |= {0: "Done; of a batch, all questions are answered.", **dict(_SIGNALS)}
    codes |= {DycokeError.exit_code: "Anything else; of a batch, some questions failed."}
    codes[Interrupted.exit_code] = _first_line(Interrupted)
    return sorted(codes.items())


def _exit_codes() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in exit_codes()]
    return "\n".join(["### Exit codes", "", "| code | meaning |", "|---|---|", *rows])


def _first_line(kind: type[DycokeError]) -> str:
    return inspect.cleandoc(kind.__doc__ or "").splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _escaped(text: str) -> str:
    """Plain text as Markdown: outside of code no star is an emphasis."""
    parts = text.split("`")
    return "`".join(
        p if i % 2 else p.replace("*", "\\*").replace("<", "&lt;") for i, p in enumerate(parts)
    )


def main(path: Path = PAGE) -> None:
    """Write them between the markers of the page."""
    put(text(), "cli", path)


if __name__ == "__main__":
    main()
