"""The help pages: complete, true to the code, and shown without waiting for torch."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import typing

import pytest

from dycoke_cli import __version__
from dycoke_cli.cli import options
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.compression.fastv import FastV
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.evaluation.specs import ABLATIONS
from dycoke_cli.models.families import FAMILIES, defaults_of
from dycoke_cli.video import Sampling

from .harness import run_here

COMMANDS = [
    [], ["ask"], ["probe"], ["models"], ["models", "default"], ["models", "info"],
    ["models", "pull"], ["models", "rm"], ["eval"], ["verify"],
    ["demo"], ["batch"], ["schema"], ["cache"], ["cache", "clear"],
]  # fmt: skip

FLAGS = """
    --method --ttm --no-ttm --merge-ratio --window --kv-prune --no-kv-prune --prune-ratio
    --prune-layer --recall --no-recall --recall-threshold --variant --positions --dp-cache
    --merge-stage --prune-from
    --frames --fps --max-frames --start --end --stream --model --device --dtype
    --device-map --quantize --kernels --random-weights --cache
    --max-new-tokens --temperature --seed --question --compare --json --quiet
""".split()  # noqa: SIM905 (a table is easier to read than a list of quotes)


def page(*command: str) -> str:
    """A help page as running text, without its frames."""
    run = run_here(*command, "--help")
    assert (run.code, run.err) == (0, "")
    return re.sub(r"[│╭╮╰╯─\s]+", " ", run.out)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page(command: list[str]) -> None:
    assert "Usage: dycoke" in page(*command)


def test_flags_of_the_contract_are_all_there() -> None:
    text = page("ask")
    for flag in FLAGS:
        assert f"{flag} " in text, flag


BATCH_FLAGS = """
    --questions --batch-size --engine --fail-fast --retry-failed --out --fields --csv
""".split()  # noqa: SIM905


def test_a_batch_has_the_flags_of_ask_and_its_own() -> None:
    text = page("batch")
    for flag in {*FLAGS, *BATCH_FLAGS} - {"--compare", "--json"}:
        assert f"{flag} " in text, flag


@pytest.mark.parametrize("command", ["ask", "batch", "eval", "verify"])
def test_where_and_how_a_model_is_loaded_is_a_flag_everywhere(command: str) -> None:
    text = page(command)
    for flag in ("--device", "--dtype", "--device-map", "--quantize", "--kernels"):
        assert f"{flag} " in text, flag


# As on the paper's models.
PAPERS = DyCoke().suited(defaults_of(FAMILIES["llava_onevision"]))


def help_of(option: object) -> str:
    """The help text of an option that `options` declares."""
    text: str = typing.get_args(option)[1].help
    return text


@pytest.mark.parametrize("field", dataclasses.fields(DyCoke), ids=lambda field: field.name)
def test_defaults_in_the_help_are_those_of_the_method(field: dataclasses.Field[object]) -> None:
    option = getattr(options, "".join(part.title() for part in field.name.split("_")))
    default = getattr(PAPERS, field.name)
    default = ("off", "on")[default] if field.type == "bool" else default
    assert re.search(rf"Default: (the paper's )?{default}", help_of(option))


@pytest.mark.parametrize("field", dataclasses.fields(FastV), ids=lambda field: field.name)
def test_fastv_defaults_in_the_help(field: dataclasses.Field[object]) -> None:
    option = getattr(options, "".join(part.title() for part in field.name.split("_")))
    assert f"fastv: {field.default}." in help_of(option)


def test_other_defaults_in_the_help() -> None:
    assert f"Default: {Sampling().frames}." in help_of(options.Frames)


def test_every_method_is_named() -> None:
    for name in METHODS:
        assert re.search(rf"\b{name}\b", help_of(options.MethodName))


def test_every_row_of_a_table_and_every_benchmark_is_named() -> None:
    for name in (*METHODS, *ABLATIONS):
        assert re.search(rf"\b{name}\b", help_of(options.Methods))
    for name in DATASETS:
        assert re.search(rf"\b{name}\b", help_of(options.Benchmark))


def test_p_is_the_share_that_is_pruned() -> None:
    assert "not the share it keeps" in help_of(options.PruneRatio)


def test_no_command_shows_the_commands() -> None:
    run = run_here()
    assert (run.code, run.err) == (0, "")
    for name in ("ask", "batch", "probe", "models", "eval", "schema", "demo"):
        assert re.search(rf"│ {name} ", run.out)


def test_version() -> None:
    run = run_here("--version")
    assert (run.code, run.out) == (0, f"dycoke {__version__}\n")


@pytest.mark.parametrize("command", ["ask", "batch", "eval", "verify"])
def test_help_needs_neither_torch_nor_av(command: str) -> None:
    code = (
        f"import sys; from dycoke_cli.cli.main import main; main(['{command}', '--help']);"
        "sys.exit(bool({'torch', 'transformers', 'av', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
