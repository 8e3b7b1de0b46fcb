"""The commands of docs/reference.md are what the code says."""

from typing import Any

import typer
from typer.core import TyperOption

from benchmarks import cli_page
from dycoke_cli.cli.app import app


def test_the_page_is_what_the_code_says() -> None:
    page = cli_page.PAGE.read_text(encoding="utf-8").partition("<!-- cli: make docs -->\n")[2]
    assert page == f"{cli_page.text()}\n<!-- /cli -->\n", "run `make docs`"


def test_every_flag_of_every_command_is_on_it() -> None:
    sections = f"\n{cli_page.text()}".split("\n### ")
    root: Any = typer.main.get_command(app)
    for name in root.commands:
        command = root.resolve_command(typer.Context(root), [name])[1]
        (section,) = [text for text in sections if text.startswith(f"dycoke {name}\n")]
        flags = [option for option in command.params if isinstance(option, TyperOption)]
        for flag in (one for option in flags if not option.hidden for one in option.opts):
            assert flag in section or flag == "--max-new-tokens", (name, flag)  # once, in ask's


def test_the_exit_codes_are_the_contract() -> None:
    rows = cli_page.text().split("### Exit codes")[1].splitlines()
    codes = [int(row.split("|")[1]) for row in rows if row.startswith("| ") and "code" not in row]
    assert codes == [0, 1, 2, 3, 4, 5, 6, 129, 130, 141, 143]
