"""What is printed, and the keys by which runs resume, are those that were kept.

A change that is meant: `python -m tests.frozen --write`, and a line in CHANGELOG.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.frozen.kept import FILES, Kept
from tests.frozen.place import place

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with place(tmp_path_factory.mktemp("frozen")):
        yield


CASES = [pytest.param(file, command, id=command) for file in FILES for command in file.read()]


@pytest.mark.parametrize(("file", "command"), CASES)
def test_outcome_is_as_it_was(file: Kept, command: str) -> None:
    assert file.outcome(command) == file.read()[command]
