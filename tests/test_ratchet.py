"""The ratchet: what it counts, by hand; and one question's way, which is measured as it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import ratchet

SOURCE = {
    "__init__.py": '"""Public."""\n',
    "alone.py": "from dycoke_cli.room import one\n",
    "room/__init__.py": "",
    "room/one.py": (
        "from dataclasses import dataclass\n"  # 1
        "from dycoke_cli.room import two\n"
        "@dataclass(frozen=True)\n"
        "class Kept:\n"
        '    """Kept."""\n'
        "    size: int = 0\n"
        "    def grow(self) -> None:\n"
        '        """Short."""\n'
        "        self.size += 1\n"
    ),
    "room/two.py": "session = VideoSession(1)\n",
    "runs/loop.py": "def long():\n" + "    a = 1\n" * 4,
    "cli/check.py": "VideoSession(1)\n",
}


@pytest.fixture
def src(tmp_path: Path) -> Path:
    for name, text in SOURCE.items():
        path = tmp_path / "src" / "dycoke_cli" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_one.py").write_text("def test_one() -> None:\n    pass\n\n")
    return tmp_path / "src"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "table.txt"
    path.write_text("a.files 3 at first\nb.files 5 at first\n")
    monkeypatch.setattr(ratchet, "TABLE", path)
    return path


def test_counts_of_a_small_package(src: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ratchet, "STEPS", {})
    assert ratchet.of_source(src) == {
        "cli.files": 1,
        "cli.statements": 1,
        "dycoke_cli.files": 2,
        "dycoke_cli.statements": 1,
        "room.dataclasses": 1,
        "room.files": 3,
        "room.one_importer": 2,
        "room.statements": 7,
        "runs.files": 1,
        "runs.statements": 5,
        "whole.drivers": 1,
        "whole.lines": 18,
        "whole.scheduling_files": 2,
        "whole.scheduling_lines": 6,
        "whole.short_functions": 1,
        "tests.lines": 3,
    }


def test_what_becomes_more_is_named_and_what_becomes_less_is_fine(table: Path) -> None:
    ratchet.check({"a.files": 3, "b.files": 4})
    with pytest.raises(AssertionError, match=r"a\.files is 4, and may be 3; c\.files is 1, .* 0"):
        ratchet.check({"a.files": 4, "b.files": 5, "c.files": 1})


def test_the_table_is_lowered_and_is_raised_with_a_reason(table: Path) -> None:
    now = {"a.files": 4, "b.files": 2}
    ratchet.write(now, None)
    assert table.read_text() == "a.files 3 at first\nb.files 2 at first\n"
    ratchet.write(now, "a reader of tables")
    assert table.read_text() == "a.files 4 a reader of tables\nb.files 2 at first\n"
    ratchet.check(now)


def test_lines_of_two_branches_may_stand_together(table: Path) -> None:
    table.write_text("a.files 4 of one branch\na.files 5 of another\na.files 3 at first\n")
    ratchet.check({"a.files": 5})
    ratchet.write({"a.files": 5}, None)
    assert table.read_text() == "a.files 5 of another\n"


def test_every_bar_is_of_the_table() -> None:
    most = {name: row.most for name, row in ratchet.table().items()}
    lines = [*ratchet.overview(most)]
    assert len(lines) == 1 + len(ratchet.BARS)
    assert not [line for line in lines if " 0 " in line.replace(",", " ")]


def test_make_test_has_no_more_cases(request: pytest.FixtureRequest) -> None:
    config = request.config
    given = {Path(config.invocation_params.dir, one).resolve() for one in config.args}
    every = {config.rootpath / one for one in config.getini("testpaths")}
    if given != every or config.option.markexpr != "not extended":
        pytest.skip("these aren't the tests of make test")
    ratchet.check(ratchet.of_cases(len(request.session.items)))


@pytest.mark.extended
@pytest.mark.slow
def test_a_question_takes_no_longer_way() -> None:
    numbers = ratchet.of_one_ask()
    assert set(numbers) == {"ask.entered", "ask.frames", "ask.frame_files"}
    ratchet.check(numbers)
