"""The help pages: complete, true to the code, and shown without waiting for torch."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import typing

import pytest

from dycoke_cli.cli import method_flags, options
from dycoke_cli.compression.dycoke import DyCoke
from dycoke_cli.compression.fastv import FastV
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.evaluation.specs import ABLATIONS
from dycoke_cli.models.families import FAMILIES, defaults_of
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.version import __version__
from dycoke_cli.video import Sampling

from .harness import run_here

COMMANDS = [
    [], ["ask"], ["probe"], ["models"], ["models", "default"], ["models", "info"],
    ["models", "pull"], ["models", "rm"], ["eval"], ["verify"],
    ["demo"], ["batch"], ["schema"], ["methods"], ["cache"], ["cache", "clear"],
]  # fmt: skip

FLAGS = """
    --method --ttm --no-ttm --merge-ratio --window --kv-prune --no-kv-prune --prune-ratio
    --prune-layer --recall --no-recall --recall-threshold --variant --positions --dp-cache
    --merge-stage --prune-from --draw-seed --retain --pivots
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


def test_an_evaluation_has_the_flags_of_a_batch_that_mean_something_to_it() -> None:
    text = page("eval")
    shared = "--fps --max-frames --start --end --stream --max-new-tokens --temperature --seed"
    for flag in (*shared.split(), "--batch-size", "--cache", "--workers", "--engine", "--address"):
        assert f"{flag} " in text, flag


@pytest.mark.parametrize("command", ["ask", "batch", "eval", "verify"])
def test_where_and_how_a_model_is_loaded_is_a_flag_everywhere(command: str) -> None:
    text = page(command)
    for flag in ("--device", "--dtype", "--device-map", "--quantize", "--kernels"):
        assert f"{flag} " in text, flag


# As on the paper's models.
PAPERS = DyCoke().suited(defaults_of(FAMILIES["llava_onevision"]))


def help_of(option: object) -> str:
    """The help text of an option that is declared."""
    text: str = typing.get_args(option)[1].help
    return text


OPTIONS = method_flags.options()


@pytest.mark.parametrize("field", dataclasses.fields(DyCoke), ids=lambda field: field.name)
def test_defaults_in_the_help_are_those_of_the_method(field: dataclasses.Field[object]) -> None:
    default = getattr(PAPERS, field.name)
    default = ("off", "on")[default] if type(default) is bool else default
    text = help_of(OPTIONS[field.name])
    assert re.search(rf"Default: (the paper's )?{default}\b", text)


@pytest.mark.parametrize("field", dataclasses.fields(FastV), ids=lambda field: field.name)
def test_fastv_defaults_in_the_help(field: dataclasses.Field[object]) -> None:
    assert f"fastv: {field.default}." in help_of(OPTIONS[field.name])


@pytest.mark.parametrize("name", OPTIONS)
def test_every_choice_of_a_flag_is_told_in_its_help(name: str) -> None:
    kind = typing.get_args(typing.get_args(OPTIONS[name])[0])[0]
    for choice in typing.get_args(kind):
        assert re.search(rf"\b{choice}\b", help_of(OPTIONS[name]))


def test_help_and_ranges_speak_of_flags() -> None:
    assert "0 ≤ K < 1" in help_of(OPTIONS["merge_ratio"])
    assert "2 or more" in help_of(OPTIONS["window"])
    assert "1 to the model's layers - 1" in help_of(OPTIONS["prune_layer"])
    assert "implies --no-recall" in help_of(OPTIONS["dp_cache"])
    assert "unless --dp-cache is discard" in help_of(OPTIONS["recall"])
    assert "For random only. " in help_of(OPTIONS["draw_seed"])
    budget = help_of(OPTIONS["retain"])
    assert "0 < R ≤ 1" in budget
    # What most methods have stands first, and names none of them.
    assert "Default: 0.25; random: as many as TTM keeps" in budget


def test_other_defaults_in_the_help() -> None:
    text = page("ask")
    assert "Number of frames, spread evenly over the video. Range: 1 or more." in text
    for default in (Sampling().frames, GenerationOptions().max_new_tokens, LoadOptions().kernels):
        assert f"Default: {default}." in text


def test_every_method_is_named() -> None:
    for name in METHODS:
        assert re.search(rf"\b{name}\b", help_of(method_flags.MethodName))


def test_every_row_of_a_table_and_every_benchmark_is_named() -> None:
    for name in (*METHODS, *ABLATIONS):
        assert re.search(rf"\b{name}\b", help_of(method_flags.Methods))
    for name in DATASETS:
        assert re.search(rf"\b{name}\b", help_of(options.Benchmark))


def test_p_is_the_share_that_is_pruned() -> None:
    assert "not the fraction kept" in help_of(OPTIONS["prune_ratio"])


def test_no_command_shows_the_commands() -> None:
    run = run_here()
    assert (run.code, run.err) == (0, "")
    for name in ("ask", "batch", "probe", "models", "methods", "eval", "schema", "demo"):
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
