"""Writes what a system's shells and `man` look for: the manual page, and scripts of completion.

`python -m benchmarks.man_page` writes them into `src/dycoke_cli/share`; the wheel installs them
into `share` of the environment. A test holds them to the code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.completion import get_completion_script

from benchmarks.cli_page import exit_codes
from benchmarks.page import ROOT
from dycoke_cli.cli.app import app
from dycoke_cli.cli.pages import HelpRow, Panel, command_panels, page_of
from dycoke_cli.version import __version__

SHARE = ROOT / "src" / "dycoke_cli" / "share"
COMPLETIONS = {"bash": "dycoke", "zsh": "_dycoke", "fish": "dycoke.fish"}


def texts() -> dict[str, str]:
    """Content of each file, by name."""
    scripts = {
        file: get_completion_script(
            prog_name="dycoke", complete_var="_DYCOKE_COMPLETE", shell=shell
        )
        for shell, file in COMPLETIONS.items()
    }
    return {"dycoke.1": manual(), **{file: f"{text}\n" for file, text in scripts.items()}}


def manual() -> str:
    """The manual page, in roff: all commands; `dycoke COMMAND --help` has the flags of each."""
    root: Any = typer.main.get_command(app)
    context = root.make_context("dycoke", [])
    page = page_of(root, context)
    lines = [
        f'.TH DYCOKE 1 "" "dycoke {__version__}" "User Commands"',
        ".SH NAME",
        f"dycoke \\- {_roff(page.summary)}",
        ".SH SYNOPSIS",
        *(f".PP\n{_roff(usage)}" for usage in (page.usage, "dycoke VIDEO QUESTION")),
        ".SH COMMANDS",
        *(line for panel in command_panels(root, context) for line in _commands(panel)),
        *(line for panel in page.panels if panel.rows for line in _panel(panel.title, panel.rows)),
        ".SH EXAMPLES",
        *(f".PP\n.EX\n{_roff(example)}\n.EE" for example in page.examples),
        ".SH EXIT STATUS",
        *(_entry(HelpRow(str(code), meaning)) for code, meaning in exit_codes()),
    ]
    return "\n".join(lines) + "\n"


def _commands(panel: Panel) -> list[str]:
    rows = (HelpRow(f"dycoke {row.name}", row.help) for row in panel.rows)
    return [f".SS {panel.title}", *map(_entry, rows)]


def _panel(title: str, rows: tuple[HelpRow, ...]) -> list[str]:
    return [f".SH {title.upper()}", *map(_entry, rows)]


def _entry(row: HelpRow) -> str:
    return f".TP\n.B {_roff(row.name)}\n{_roff(row.help)}"


def _roff(text: str) -> str:
    """Plain text as roff: backslashes, hyphens, and a dot that begins a line are escaped."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main(folder: Path = SHARE) -> None:
    """Write the files."""
    folder.mkdir(exist_ok=True)
    for name, text in texts().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
