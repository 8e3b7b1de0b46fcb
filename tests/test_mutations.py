"""The table of `make mutants` fits the code; and what a pattern fits, in code made for it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.mutating import SRC, NotOnePlaceError, changed
from tests.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.what)
def test_every_mutation_breaks_exactly_one_place(mutation: Mutation) -> None:
    file, text = changed(mutation.where, mutation.pattern, mutation.replacement)
    compile(text, str(file), "exec")
    whole = (SRC / file).read_text(encoding="utf-8")
    assert ast.unparse(ast.parse(whole)) != text
    # The next one is made of a whole tree again.
    assert changed(mutation.where, mutation.pattern, mutation.replacement) == (file, text)


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


CODE = '''
LIMIT = 4

class Store:
    def take(self, rows):
        """Rows, no more than the limit."""
        rest = rows[LIMIT:]
        rows = rows[:LIMIT]
        if rest:
            self.rest = rest
        return (rows
                + self.more(count=len(rows)))

    def more(self, count): return [count + 1] * (count - 1)

def take(rows): return rows[:LIMIT]
'''


@pytest.fixture
def src(tmp_path: Path) -> Path:
    (tmp_path / "dycoke_cli" / "deep").mkdir(parents=True)
    (tmp_path / "dycoke_cli" / "__init__.py").write_text("")
    (tmp_path / "dycoke_cli" / "deep" / "store.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("where", "pattern", "replacement", "line"),
    [
        ("Store.take", "A[:B]", "A[B:]", "rows = rows[LIMIT:]"),  # in a method, whatever the names
        ("deep.store.take", "A[:B]", "A[:B + 1]", "return rows[:LIMIT + 1]"),  # or in a function
        ("store", "A = 4", "A = 5", "LIMIT = 5"),  # a module; a constant is itself
        ("Store.more", "A + 1", "A", "return [count] * (count - 1)"),  # A - 1 is something else
        ("Store.take", "A + self.B(C=D)", "A + self.B(C=0)", "return rows + self.more(count=0)"),
        ("Store.take", "A = B[C:]; D = B[:C]", "D = B[:C]; A = B[C:]", "rest = rows[LIMIT:]"),
        ("Store.take", "self.A = A", "pass", "pass"),  # the same letter is the same name
    ],
)
def test_what_a_pattern_fits(
    where: str, pattern: str, replacement: str, line: str, src: Path
) -> None:
    file, text = changed(where, pattern, replacement, src)
    assert file == Path("dycoke_cli", "deep", "store.py")
    before = ast.unparse(ast.parse(CODE)).splitlines()
    after = text.splitlines()
    assert line in [line.strip() for line in after]
    assert len(set(before) ^ set(after)) <= 2
    assert sorted(before) != sorted(after) or before != after


@pytest.mark.parametrize(
    ("where", "pattern"),
    [
        ("take", "A[:B]"),  # in the method and in the function
        ("store", "rows[LIMIT]"),
        ("tore.take", "A[:B]"),  # names are whole
        ("Store.take", "A[:A]"),
        ("Store.take", "self.take(count=A)"),
        ("Elsewhere", "A"),
    ],
)
def test_no_place_and_several_are_refused(where: str, pattern: str, src: Path) -> None:
    with pytest.raises(NotOnePlaceError):
        changed(where, pattern, "0", src)
