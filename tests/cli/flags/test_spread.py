"""A command whose options come from dataclasses is one whose options are its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from dycoke_cli.cli.flags.param_flags import spread
from dycoke_cli.cli.flags.shared_flags import flag_table

Size = Annotated[int, typer.Option("--size", "-s", help="How large.")]


@dataclass(frozen=True)
class Shape:
    """Of something."""

    size: Size = 3
    round: Annotated[bool, typer.Option("--round/--square")] = True


Sides = {f"side_{number}": Annotated[int | None, typer.Option()] for number in (1, 2)}


@dataclass(frozen=True)
class Sided:
    """Of something."""

    sides: Annotated[dict[str, int | None], Sides] = field(default_factory=dict)


def test_a_dict_of_parameters_has_one_for_each_of_its_names() -> None:
    app = typer.Typer()

    @app.command()
    @spread
    def show(sided: Sided) -> None:
        typer.echo(sided.sides)

    assert CliRunner().invoke(app, ["--side-2", "7"]).output == "{'side_1': None, 'side_2': 7}\n"


def test_two_parameters_of_one_name_are_a_mistake() -> None:
    def paint_twice(shape: Shape, again: Shape) -> None:
        """Paint something."""

    with pytest.raises(TypeError, match="two parameters of paint_twice are size"):
        spread(paint_twice)


def test_a_table_of_flags_has_names_placeholder_panel_and_help_in_several_lines() -> None:
    video, out = flag_table("""
        VIDEO: What is read: a file.
        [Output]
        --out -o FILE[:KEY]: Where it goes,
            and how.
    """).values()
    assert (video.metavar, video.help) == ("VIDEO", "What is read: a file.")
    assert (out.default, *out.param_decls, out.metavar, out.rich_help_panel, out.help) == (
        "--out", "-o", "FILE[:KEY]", "Output", "Where it goes, and how.",
    )  # fmt: skip
