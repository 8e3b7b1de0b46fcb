"""What help pages and completion import: the flags that they print, not the work behind them."""

from __future__ import annotations

from fnmatch import fnmatch

from tests.cli.harness import run_apart, run_completing

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


def split(modules: set[str]) -> tuple[set[str], set[str]]:
    """Modules of the package, and libraries, of those that were imported."""
    assert "dycoke_cli.cli.app" in modules
    ours = {name[len("dycoke_cli.") :] for name in modules if name.startswith("dycoke_cli.")}
    return ours, {name.partition(".")[0] for name in modules} - {"dycoke_cli"}


def others(ours: set[str], allowed: tuple[str, ...]) -> set[str]:
    """Modules that neither match an allowed pattern nor are packages of an allowed module."""
    return {
        name
        for name in ours
        if not any(fnmatch(name, one) or one.startswith(f"{name}.") for one in allowed)
    }


def test_a_help_page_imports_what_it_prints() -> None:
    # The page of `ask` imports what every page may.
    before = [["ask", "--help"]]
    pages = run_apart(*([*command.split(), "--help"] for command in ALSO), before=before)
    for (command, more), (_, modules) in zip(ALSO.items(), pages, strict=True):
        ours, libraries = split(modules)
        assert others(ours, (*EVERY_PAGE, *more)) == set(), command
        assert libraries.isdisjoint(("torch", "transformers", "av", "numpy")), command
        assert libraries.isdisjoint(("huggingface_hub", "pydantic")), command


def test_the_root_page_imports_no_command_and_one_of_words_is_read_without_pydantic() -> None:
    words = ["ask", "nofile.mp4", "What?", "-q", "Who?", "--model", "mini", "--method", "ttm"]
    (_, root), (_, asked) = run_apart(["--help"], words)
    ours, _ = split(root)
    assert {name for name in ours if name.startswith("cli.commands")} == set()
    assert "compression.methods" not in ours
    _, libraries = split(asked)
    assert "rich" in libraries
    assert "pydantic" not in libraries


def test_completing_imports_no_command_or_the_flags_alone() -> None:
    every, start, flag = (
        split(found) for _, found in run_completing("dycoke ", "dycoke a", "dycoke ask --me")
    )
    allowed = (
        "cli.app", "cli.flags.shared_flags", "cli.flags.arguments", "cli.main",
        "cli.output", "cli.page_content", "cli.pages", "compression.method", "errors", "lazy_torch",
        "engine.explaining", "param", "plugins", "runs.file_walk", "storage.input_file", "unicode",
        "version", "video.files", "video.subtitles",
    )  # fmt: skip
    for ours, libraries in (every, start):
        assert others(ours, allowed) == set()
        assert "rich" not in libraries
    ours, libraries = flag
    assert others(ours, EVERY_PAGE) == set()
    assert libraries & {"rich", "pydantic"} == set()
