"""The table of `make mutants` fits the code; and what is refused, in code made for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import mutations, warm
from tests.mutations import ROOT, TABLE, Mutation, NotOnePlaceError, read

MUTATIONS = read(TABLE.read_text(encoding="utf-8"))


def test_every_mutation_breaks_exactly_one_place() -> None:
    faults = []
    for mutation in MUTATIONS:
        try:
            file, text = mutation.applied(mutations.PACKAGE)
            compile(text, str(file), "exec")
        except (NotOnePlaceError, SyntaxError) as error:
            faults.append(f"{error}: {mutation}" if isinstance(error, SyntaxError) else str(error))
    assert not faults, "tests/mutations.txt\n" + "\n".join(faults)


def test_the_tests_that_should_notice_are_there() -> None:
    for test in {test for mutation in MUTATIONS for test in mutation.tests}:
        path, _, name = test.partition("::")
        assert (ROOT / path).exists(), test
        assert name.partition("[")[0] in (ROOT / path).read_text() if name else True, test


@pytest.mark.extended
@pytest.mark.slow
def test_the_cases_that_should_notice_are_collected() -> None:
    """One that isn't there would pass for a test that is red."""
    cases = {test for mutation in MUTATIONS for test in mutation.tests if "::" in test}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = warm.run([*command, *cases], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for folder in ("deep", "flat"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "deep" / "store.py").write_text("rows = rows[:LIMIT]\nrest = rows[LIMIT:]\n")
    return tmp_path


def test_a_line_of_the_table_is_a_mutation(package: Path) -> None:
    first, second = read(
        "# About it\n\ntests/a tests/b\n    store.py: [:L => [L\n    store.py: = r =>"
    )
    assert first == Mutation(("tests/a", "tests/b"), "store.py", "[:L", "[L")
    assert second == Mutation(first.tests, "store.py", "= r", "")
    file, text = first.applied(package)
    assert file == Path("deep", "store.py")
    assert text == "rows = rows[LIMIT]\nrest = rows[LIMIT:]\n"


@pytest.mark.parametrize("table", ["    a.py: b => c", "tests\n    a.py: b", "tests\n    a => b"])
def test_another_line_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="no mutation"):
        read(table)


@pytest.mark.parametrize(
    ("file", "pattern", "message"),
    [
        ("store.py", "LIMIT", "2 places instead of one: store.py: LIMIT => 0"),
        ("deep/store.py", "limit", "0 places"),
        ("tore.py", "LIMIT]", "0 files"),
        ("__init__.py", "LIMIT]", "2 files"),
    ],
)
def test_no_place_and_several_are_refused(
    file: str, pattern: str, message: str, package: Path
) -> None:
    with pytest.raises(NotOnePlaceError, match=message):
        Mutation(("tests",), file, pattern, "0").applied(package)


def test_what_survives_is_said(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path: Path) -> None:
    """With a pytest that finds whatever breaks one file, if it is given the tests for that."""
    slots = Path("engine", "kv_cache", "slots.py")
    whole = (mutations.PACKAGE / slots).read_text(encoding="utf-8")
    package = tmp_path / mutations.PACKAGE.name
    for folder in (mutations.WEIGHTS, slots.parent):
        (package / folder).mkdir(parents=True)
    (package / slots).write_text(whole, encoding="utf-8")

    def run(arguments: list[str]) -> None:
        copy = Path(os.environ["PYTHONPATH"], "dycoke_cli", slots).read_text(encoding="utf-8")
        if copy != whole and "tests/engine/test_host.py" not in arguments:
            os.write(1, b"FAILED tests/a.py::b - no")

    monkeypatch.setattr(pytest, "main", run)
    monkeypatch.setattr(mutations, "PRELOADED", ())
    monkeypatch.setattr(mutations, "PACKAGE", package)
    assert mutations.main(["slots.py"]) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["SURVIVED", "SURVIVED", "caught"]
    assert "(tests/a.py::b)" in lines[-1]
    assert summary == "1 of 3 mutations caught"
    assert mutations.main(["test_kv_store.py slots.py"]) == 0
