"""A command whose options come from dataclasses is one whose options are its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from dycoke_cli.cli.spread import spread

Size = Annotated[int, typer.Option("--size", "-s", help="How large.")]


@dataclass(frozen=True)
class Shape:
    """Of something."""

    size: Size = 3
    round: Annotated[bool, typer.Option("--round/--square")] = True


@dataclass(frozen=True)
class Colour:
    """Of something."""

    colour: Annotated[str, typer.Option(help="Must be given.")]


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(spread(paint))
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output


def paint(
    name: Annotated[str, typer.Argument()], shape: Shape, colour: Colour, times: int = 1
) -> None:
    """Paint something."""
    typer.echo(f"{name} {shape} {colour} {times}")


def test_fields_are_options_with_their_own_defaults() -> None:
    code, out = run("it", "--colour", "red")
    assert (code, out) == (0, f"it {Shape()} {Colour('red')} 1\n")


def test_what_is_given_arrives_in_its_dataclass() -> None:
    code, out = run("it", "-s", "7", "--square", "--colour", "blue", "--times", "2")
    assert (code, out) == (0, f"it {Shape(7, False)} {Colour('blue')} 2\n")


def test_a_field_without_a_default_must_be_given() -> None:
    code, out = run("it")
    assert code == 2
    assert "--colour" in out


def test_help_has_them_in_their_place() -> None:
    _, out = run("--help")
    assert "Paint something." in out
    places = [out.index(flag) for flag in ("--size", "--round", "--colour", "--times")]
    assert places == sorted(places)
