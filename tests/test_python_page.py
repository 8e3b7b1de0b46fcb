"""docs/python.md: its pieces run, and the names that stay are exported."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import dycoke_cli
from tests.cli.harness import ROOT
from tests.forms import NEEDS_LIBRARY

PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
PIECES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@NEEDS_LIBRARY
@pytest.mark.slow
def test_the_pieces_run_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", page)  # where a dataclass looks its module up
    names, said = vars(page), []
    for piece in PIECES:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(piece, "docs/python.md", "exec"), names)
        said.append(out.getvalue())
    own, asked, many, options, form, method = said
    question, method_of = "What does the blue star do?", names["DyCoke"]
    same = names["session"].ask(question, method_of(merge_ratio=0.7, prune_layer=9))
    assert own.startswith(f"{same.answer}\n512 224 tensor([")
    assert re.fullmatch(r"The blue star [a-z ]+\. 512 224\n", asked)
    assert [line.partition(" ")[0] for line in many.splitlines()] == [*names["names"]]
    assert options.startswith("yes {'yes': 0.")
    assert re.match(r"\{'what': 'The blue star [a-z ]+\.'", form)
    assert method.strip()


@pytest.mark.extended
def test_the_types_of_the_pieces_are_known(tmp_path: Path) -> None:
    """By pyright's strict mode. What transformers exports has types that are partly unknown."""
    pytest.importorskip("pyright", reason="the extra dev has pyright")
    stock = "from transformers import AutoModelForImageTextToText, AutoProcessor\n"
    page = "\n".join(PIECES)
    assert page.count(stock) == 1
    opaque = "from typing import Any\n\n\ndef stock() -> Any: ...\n\n\n"
    opaque += "AutoModelForImageTextToText = AutoProcessor = stock()\n"
    (tmp_path / "page.py").write_text("# pyright: strict\n" + page.replace(stock, opaque), "utf-8")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "page.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("0 errors"), done.stdout + done.stderr


def test_names_that_stay_are_exported() -> None:
    _, _, stay = PAGE.partition("## Names that stay")
    exported = set(dir(dycoke_cli))
    found = re.findall(r"`(\w+)`", stay)
    assert len(found) > 20
    assert set(found) <= exported
    assert not [name for name in exported if name.startswith("_") and name != "__version__"]
