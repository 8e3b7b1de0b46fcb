"""What pages, and scripts within tests, import from the package is there; no checker reads them."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT

FOLDERS = ("benchmarks", "plugins", "tests", "training")
IMPORT = re.compile(r"from (dycoke_cli[\w.]*) import (\([^)]+\)|[^\n(]+)")
# A reader of CONTRIBUTING.md writes them.
EXAMPLES = (
    "dycoke_cli.compression.methods.stride",
    "dycoke_cli.evaluation.datasets.yesno",
)


def texts() -> list[Path]:
    scripts = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return [*PAGES, *(path for path in scripts if path != Path(__file__))]


def imported(text: str) -> list[tuple[str, str]]:
    """The module and the name of each import, also within strings and code blocks."""
    return [
        (module, name)
        for module, names in IMPORT.findall(text)
        for one in re.sub(r"#.*|;.*|\\n.*", "", names).split(",")
        for name in re.findall(r"\w+", one)[:1]
    ]


def is_there(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name) or bool(
            importlib.import_module(f"{module}.{name}")
        )
    except ModuleNotFoundError:
        return False


@pytest.mark.slow
def test_it_is_there() -> None:
    wanted = {
        (path, *one)
        for path in texts()
        for one in imported(path.read_text(encoding="utf-8"))
        if one[0] not in EXAMPLES
    }
    assert len(wanted) > 1000
    assert [(str(path), *one) for path, *one in sorted(wanted) if not is_there(*one)] == []
