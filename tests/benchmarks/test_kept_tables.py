"""Tables as CSV, their index, and the extracts of them in pages."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmarks import (
    decisions,
    decode_rules,
    peers,
    real_features,
    shapes_long,
    speech,
    text_video,
)
from benchmarks.json_lines import read_lines
from benchmarks.kept_tables import (
    DATA,
    TABLES,
    csv_files,
    keep,
    kept_files,
    listed,
    read_table,
    with_extracts,
)
from benchmarks.serving.__main__ import RAW
from benchmarks.serving.rows import read_rows
from benchmarks.serving.table import circumstances, table
from benchmarks.speed.kept import made_again
from tests.pages import PAGES

TEXT = """\
### A heading

Of **one** [thing](#there).

| row | kept, % | x |
| --- | --- | --- |
| `a` | 1 | −1.0 ± 0.5 |
| b | 2 | 3<br>4 |

Two runs. Commit abc, one core.

<details><summary>The other</summary>

| row | x |
|---|---|
| c | 5 |

Commit def, one core.

</details>
"""


def test_a_file_a_table_with_the_sentences_about_it() -> None:
    first, second = csv_files(TEXT, "some").items()
    assert first == (
        "some.1.csv",
        "# Of one thing.\n# Two runs. Commit abc, one core.\n"
        'row,"kept, %",x\na,1,−1.0 ± 0.5\nb,2,3; 4\n',
    )
    assert second == ("some.2.csv", "# The other\n# Commit def, one core.\nrow,x\nc,5\n")


def test_what_is_kept_takes_the_place_of_the_last_and_renews_extracts(tmp_path: Path) -> None:
    tables, page = tmp_path / "data" / "tables", tmp_path / "page.md"
    tables.mkdir(parents=True)
    (tables / "some-other.csv").write_text("x\n")
    keep(TEXT, "some", tables)
    assert [*kept_files("some", tables)] == ["some.1.csv", "some.2.csv"]
    shown = "<!-- from some.csv, by 1 -->\n| row | x |\n| --- | --- |\n| `a` | old |\n\nafter\n"
    page.write_text(shown)
    keep(TEXT.partition("Two runs")[0], "some", tables)
    assert [*kept_files("some", tables)] == ["some.csv"]
    assert page.read_text() == shown.replace("old", "−1.0 ± 0.5")
    page.write_text(shown.replace("`a`", "d"))
    with pytest.raises(SystemExit, match=r"some\.csv has 0 rows for d"):
        keep(TEXT.partition("Two runs")[0], "some", tables)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_extracts_have_the_cells_of_the_kept_tables(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_extracts(text) == text


def test_the_index_has_a_line_for_each_kept_table() -> None:
    assert {*listed()} == {path.name.partition(".")[0] for path in TABLES.glob("*.csv")}
    for path in TABLES.glob("*.csv"):
        head, *rows = read_table(path.name.removesuffix(".csv"))
        assert rows
        assert {len(row) for row in rows} == {len(head)}


def of_answers(made: Callable[[bytes], str], names: str) -> Mapping[str, str]:
    """The tables of files of answers."""
    files = sorted(DATA.glob(f"{names}.jsonl.xz"))
    return {
        file.name.removesuffix(".jsonl.xz"): made(lzma.decompress(file.read_bytes()))
        for file in files
    }


MADE: dict[str, Callable[[], Mapping[str, str]]] = {
    "decode rules": lambda: of_answers(decode_rules.table, "decode-rules-*"),
    "features": lambda: of_answers(real_features.table, "real-features-*"),
    "text": lambda: of_answers(text_video.table, "text-video-*"),
    "long": lambda: shapes_long.tables(DATA),
    "peers": peers.made_again,
    "serving": lambda: {
        f"serving-{name}": f"{table(rows)}\n\n{circumstances(rows)}"
        for name, rows in read_rows(RAW).items()
    },
    "speed": made_again,
    "speech": lambda: {speech.NAME: speech.table([*read_lines(speech.KEPT)])},
    "decisions": lambda: {decisions.NAME: decisions.table([*read_lines(decisions.KEPT)])},
}


@pytest.mark.parametrize("of", MADE)
def test_kept_tables_are_those_of_the_answers(of: str) -> None:
    tables = MADE[of]()
    assert tables
    for name, text in tables.items():
        assert csv_files(text, name) == kept_files(name), name
