"""What help pages and completion import: the flags that they print, not the work behind them."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from tests.cli.harness import run_code
from tests.marks import EXTENDED

PROGRAM = """
import sys
from dycoke_cli.cli.main import main
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""

EVERY_PAGE = (
    "answer.json_schema", "cli.*", "compression.*", "engine.field_types",
    "engine.generation_options", "engine.structured_output", "errors", "lazy_torch",
    "engine.explaining", "models.load_options",
    "param", "plugins", "request", "resources", "runs.file_walk",
    "runs.listener", "stock.quiet", "storage.input_file", "storage.output_file",
    "unicode", "version", "video.files", "video.limits", "video.sampling", "video.subtitles",
)  # fmt: skip
"""Modules of the flags and of their layout."""

DOCUMENTS = (
    "answer.answer", "answer.answer_trace",
)  # fmt: skip

ALSO = {
    "ask": (),
    "chat": (
        "video.clip", "video.pictures",
    ),
    "watch": (),
    **dict.fromkeys(("serve", "serve status"), ("storage.cache_folder",)),
    "mcp": (),
    **dict.fromkeys(("batch", "caption", "convert"), ("runs.output_formats",)),
    "inspect": (*DOCUMENTS, "inspect.inspection", "video.clip"),
    "probe": (*DOCUMENTS, "video.clip"),
    "models": (),
    "models pull": (),
    "methods": (*DOCUMENTS, "models.families.*"),
    # The pages list benchmarks and ablations.
    **dict.fromkeys(
        ("eval", "eval report"),
        (
            "bench", "evaluation.dataset", "evaluation.datasets",
            "compression.method_specs", "storage.input_file",
        ),
    ),
    "bench": ("bench", "compression.method_specs"),
    "cache": ("storage.cache_folder",),
    "verify": ("verification",),
    "schema": DOCUMENTS,
    "demo": (),
    "doctor": (*DOCUMENTS, "kernels.processor"),
}  # fmt: skip
"""Further modules by command."""


def imported(*words: str, **environment: str) -> tuple[set[str], set[str]]:
    """Modules of the package, and libraries, that a command line imports in a fresh process."""
    run = run_code(PROGRAM, *words, **environment)
    modules = run.err.split()
    assert "dycoke_cli.cli.app" in modules, run.err
    ours = {name[len("dycoke_cli.") :] for name in modules if name.startswith("dycoke_cli.")}
    return ours, {name.partition(".")[0] for name in modules} - {"dycoke_cli"}


def completing(line: str) -> tuple[set[str], set[str]]:
    """What completing the last word of a command line imports."""
    return imported(
        _DYCOKE_COMPLETE="complete_bash",
        COMP_WORDS=line,
        COMP_CWORD=str(len(line.split(" ")) - 1),
    )


def others(ours: set[str], allowed: tuple[str, ...]) -> set[str]:
    """Modules that neither match an allowed pattern nor are packages of an allowed module."""
    return {
        name
        for name in ours
        if not any(fnmatch(name, one) or one.startswith(f"{name}.") for one in allowed)
    }


@pytest.mark.parametrize(
    "command",
    # A process each; what imports the flags alone is told by one of them.
    [
        pytest.param(command, marks=() if more or command == "ask" else EXTENDED)
        for command, more in ALSO.items()
    ],
)
def test_a_help_page_imports_what_it_prints(command: str) -> None:
    ours, libraries = imported(*command.split(), "--help")
    assert others(ours, (*EVERY_PAGE, *ALSO[command])) == set()
    assert libraries & {"torch", "transformers", "av", "numpy", "huggingface_hub"} == set()
    assert "pydantic" not in libraries


def test_a_command_line_of_words_is_read_without_pydantic() -> None:
    words = ["ask", "nofile.mp4", "What?", "-q", "Who?", "--model", "mini", "--method", "ttm"]
    _, libraries = imported(*words)
    assert "rich" in libraries
    assert "pydantic" not in libraries


@pytest.mark.parametrize(
    "line", ["dycoke ", "dycoke a"], ids=["all commands", "the start of a command"]
)
def test_the_list_of_commands_imports_no_command(line: str) -> None:
    ours, libraries = completing(line)
    allowed = (
        "cli.app", "cli.flags.shared_flags", "cli.flags.arguments", "cli.main",
        "cli.output", "cli.page_content", "cli.pages", "compression.method", "errors", "lazy_torch",
        "engine.explaining", "param", "plugins", "runs.file_walk", "storage.input_file", "unicode",
        "version", "video.files", "video.subtitles",
    )  # fmt: skip
    assert others(ours, allowed) == set()
    assert "rich" not in libraries


def test_the_root_page_imports_no_command() -> None:
    ours, _ = imported("--help")
    assert {name for name in ours if name.startswith("cli.commands")} == set()
    assert "compression.methods" not in ours


def test_completing_a_flag_imports_the_flags_alone() -> None:
    ours, libraries = completing("dycoke ask --me")
    assert others(ours, EVERY_PAGE) == set()
    assert libraries & {"rich", "pydantic"} == set()
