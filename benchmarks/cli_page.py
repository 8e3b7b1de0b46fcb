"""Writes into docs/reference.md every command's help and the exit codes, as the code has them.

`python -m benchmarks.cli_page` writes it; a test holds the page to the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from benchmarks.page import ROOT, put
from dycoke_cli import errors
from dycoke_cli.cli.app import app
from dycoke_cli.cli.failure import Interrupted
from dycoke_cli.cli.page import Page, Panel
from dycoke_cli.cli.pages import page_of
from dycoke_cli.errors import DycokeError

PAGE = ROOT / "docs" / "reference.md"
_SIGNALS = (
    (129, "Hung up (SIGHUP)."),
    (141, "The reader of stdout left (SIGPIPE), as in `| head`."),
    (143, "Terminated (SIGTERM)."),
)


def text() -> str:
    """The sections of all commands, and the exit codes, as Markdown."""
    root: Any = typer.main.get_command(app)
    pages = _pages(root, root.make_context("dycoke", []))
    return "\n".join([*map(_section, pages), _exit_codes()])


def _pages(command: Any, context: Any) -> Iterator[Page]:
    """The page of a command, then those of its subcommands."""
    yield page_of(command, context)
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            inner: Any = command.resolve_command(context, [name])[1]
            yield from _pages(inner, type(context)(inner, info_name=name, parent=context))


def _section(page: Page) -> str:
    name = page.usage.split(" [")[0].split(" COMMAND")[0]
    blocks = [f"### {name}", page.summary, f"```console\n$ {page.usage}\n```"]
    if page.examples:
        blocks.append(
            "Examples:\n\n```console\n" + "\n".join(f"$ {e}" for e in page.examples) + "\n```"
        )
    blocks += [_escaped(paragraph) for paragraph in page.details]
    blocks += [_table(panel) for panel in page.panels if panel.rows]
    return "\n\n".join(blocks) + "\n"


def _table(panel: Panel) -> str:
    rows = [f"| `{_cell(row.name)}` | {_cell(_escaped(row.help))} |" for row in panel.rows]
    return "\n".join([f"| {panel.title} | |", "|---|---|", *rows])


def exit_codes() -> list[tuple[int, str]]:
    """Every exit code with its meaning, ascending."""
    kinds = (kind for kind in vars(errors).values() if isinstance(kind, type))
    codes = {kind.exit_code: _first_line(kind) for kind in kinds if issubclass(kind, DycokeError)}
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
