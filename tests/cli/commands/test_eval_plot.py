"""`dycoke eval report --plot`, of runs that were written by hand: no model is asked."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from PIL import Image

from dycoke_cli.cli.commands import eval as eval_command
from dycoke_cli.cli.commands.eval_plot import HEIGHT_PX, WIDTH_PX, accuracy_figure
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, open_answers
from dycoke_cli.evaluation.report.combine import report_of
from dycoke_cli.evaluation.run_record import RunRecord, write_record
from tests.cli.harness import Outcome, run_here
from tests.evaluation.report.test_combine import ITEMS, NONE, RIGHT, of_model, written


def rows_of(text: str, model: str = "m") -> tuple[KeptRow, ...]:
    """The rows that `--methods` names."""
    return tuple(
        of_model(
            KeptRow(
                spec, spec.create().parameters(),
                replace(NONE.setup, method={"name": spec.method, **spec.given},
                        frames=8 if spec.frames is None else spec.frames),
            ),
            model,
        )
        for spec in parse_specs(text)
    )  # fmt: skip


def folder_of(path: Path, text: str, model: str = "m", **values: Any) -> Path:
    """A run whose methods answer as `other` of test_combine does."""
    rows = rows_of(text, model)
    names = {row.spec.text: "none" if row.spec.is_baseline else "other" for row in rows}
    return written(path, rows, names=names, **values)


def errorbars(axes: Axes) -> dict[str, tuple[list[float], list[float], list[float]]]:
    """What is drawn, by colour: retention, accuracy and error of each point."""
    found = {}
    for one in axes.containers:
        assert isinstance(one, ErrorbarContainer)
        line, _, (bars,) = one.lines
        lengths = [(high - low) / 2 for (_, low), (_, high) in bars.get_segments()]
        found[line.get_color()] = ([*line.get_xdata()], [*line.get_ydata()], lengths)
    return found


def named(axes: Axes) -> list[str]:
    """Texts of the legend."""
    return [text.get_text() for text in axes.get_legend().get_texts()]


def report(*arguments: str | Path) -> Outcome:
    return run_here("eval", "report", *arguments)


def test_points_by_hand(tmp_path: Path) -> None:
    """`other` is right in 1, 1 | 0, 0: one half, its residuals by video 1 and -1.

    Student's t of two videos widens the error by 1.8373.
    """
    made = report_of([folder_of(tmp_path / "1", "none,vidcom2:retain=0.5,no-video")])
    (axes,) = accuracy_figure(made).axes
    ((at, accuracies, errors),) = errorbars(axes).values()
    # Every answer that isn't the baseline's keeps 25 of 100 tokens.
    assert at == pytest.approx([25])
    assert (accuracies, errors) == (
        pytest.approx([50]), pytest.approx([183.7337 * math.sqrt(2 * 2) / 4]),
    )  # fmt: skip
    assert sorted(named(axes)) == ["baseline 75.0", "no-video 50.0", "vidcom2"]
    # The baseline and the control go through the whole panel.
    assert [{*line.get_ydata()} for line in axes.lines if [*line.get_xdata()] == [0, 1]] == [
        {75.0}, {50.0},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "names", "points"),
    [
        # Shares alone make one line.
        ("vidcom2:retain=0.5,vidcom2:retain=0.25,random:retain=0.5", ["random", "vidcom2"], [1, 2]),
        ("dycoke,dycoke:merge_ratio=0.5,dycoke:merge_ratio=0.3", ["dycoke"], [3]),
        # All else makes others, which say what it is.
        (
            "dycoke:positions=kept,dycoke:positions=renumbered",
            ["dycoke positions=kept", "dycoke positions=renumbered"],
            [1, 1],
        ),
        ("dycoke,ttm", ["dycoke", "ttm"], [1, 1]),
    ],
)
def test_one_line_a_method(
    methods: str, names: list[str], points: list[int], tmp_path: Path
) -> None:
    made = report_of([folder_of(tmp_path / "1", f"none,{methods}")])
    (axes,) = accuracy_figure(made).axes
    assert sorted(named(axes)) == ["baseline 75.0", *names]
    assert sorted(len(at) for at, _, _ in errorbars(axes).values()) == sorted(points)


@pytest.mark.parametrize(("read", "label"), [(None, "kept at prefill"), (30.0, "decoding step")])
def test_retention_is_at_prefill_where_nothing_was_decoded(
    read: float | None, label: str, tmp_path: Path
) -> None:
    """What isn't known of one row isn't taken of another."""
    made = report_of([folder_of(tmp_path / "1", "none,vidcom2:retain=0.5,random:retain=0.5")])
    rows = list(made.rows)
    rows[0] = replace(rows[0], kept_in_decode=1.0)
    rows[1] = replace(rows[1], kept_in_decode=0.3)
    rows[2] = replace(rows[2], kept_in_decode=None if read is None else read / 100)
    figure = accuracy_figure(replace(made, rows=tuple(rows)))
    assert label in figure.get_supxlabel()
    drawn = [at for at, _, _ in errorbars(figure.axes[0]).values()]
    wanted = 25 if read is None else 30
    assert [at for (at,) in drawn] == pytest.approx([wanted, wanted], rel=0.02)


@pytest.mark.parametrize(("models", "grid"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (5, (2, 3))])
def test_a_panel_for_each_model(models: int, grid: tuple[int, int], tmp_path: Path) -> None:
    folders = [
        folder_of(tmp_path / str(n), "none,vidcom2:retain=0.5", f"model{n}") for n in range(models)
    ]
    figure = accuracy_figure(report_of(folders))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == models
    assert figure.axes[0].get_gridspec().get_geometry() == grid
    titles = [axes.get_title() for axes in shown]
    assert titles == ([""] if models == 1 else [f"model{n}" for n in range(models)])
    assert ("model0" in figure.get_suptitle()) == (models == 1)
    # A method has one colour in all, and accuracies compare.
    assert len({colour for axes in shown for colour in errorbars(axes)}) == 1
    assert len({axes.get_ylim() for axes in shown}) == 1
    assert len({axes.get_xlim() for axes in shown}) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",)])
def test_the_file_beside_the_tables(form: tuple[str, ...], tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "1", "none,vidcom2:retain=0.5", "a $x$ <b> & model")
    plain = report(folder, *form)
    path = tmp_path / "plot.svg"
    assert report(folder, "--plot", path, *form) == plain
    content = path.read_bytes()
    told = [element.text for element in ElementTree.fromstring(content).iter() if element.text]
    assert any("a $x$ <b> & model" in text for text in told)
    assert {"vidcom2", "baseline 75.0"} <= set(told)
    # The same again is the same file.
    report(folder, "--plot", path, *form)
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "cache", "plot.svg"]


def test_a_picture_of_shards(tmp_path: Path) -> None:
    folders = [
        folder_of(tmp_path / str(n), "none,vidcom2:retain=0.5", places=places, shards=(f"{n}/2",))
        for n, places in ((1, (0, 1)), (2, (2, 3)))
    ]
    path = tmp_path / "PLOT.PNG"
    assert report(*folders, "--plot", path, "--quiet").code == 0
    with Image.open(path) as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH_PX, HEIGHT_PX))
    made = report_of(folders)
    ((_, accuracies, _),) = errorbars(accuracy_figure(made).axes[0]).values()
    assert accuracies == [100 * sum(RIGHT["other"]) / len(ITEMS)]


def test_what_has_no_answers_is_said(tmp_path: Path) -> None:
    gone = {
        item.id: Prediction(item.id, "", False, {}, 0, 0, 0, 0, 0, 0, error="gone")
        for item in ITEMS
    }
    base, other = rows_of("none,vidcom2:retain=0.5")
    folder = written(tmp_path / "1", (base,), names={"none": "none"})
    failing = tmp_path / "2"
    failing.mkdir()
    record = RunRecord(
        (other,), ITEMS, (0, 1, 2, 3), 8, {}, "accuracy", False, failures={other.setup.id: gone}
    )
    write_record(failing, record)
    with open_answers(failing):
        pass
    outcome = report(folder, failing, "--plot", tmp_path / "a.svg")
    assert outcome.code == 1
    assert "vidcom2:retain=0.5 isn't in the picture: it has no answers" in outcome.err


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("a.pdf", 2, r"a\.pdf: name a file that ends in \.png or \.svg"),
        ("", 2, r"is a folder; give a file in it"),
        ("none/a.png", 6, r"there is no folder .*none; make it first"),
    ],
)
def test_what_is_refused(name: str, code: int, sentence: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "1", "none,vidcom2:retain=0.5")
    outcome = report(folder, "--plot", tmp_path / name)
    assert (outcome.code, outcome.out) == (code, "")
    assert re.search(sentence, outcome.err)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "1", "none,vidcom2:retain=0.5")
    monkeypatch.setattr(eval_command, "find_spec", lambda name: None)
    outcome = report(folder, "--plot", tmp_path / "a.png")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("Error: --plot needs the package matplotlib: ")
    assert "pip install" in outcome.err
    assert report(folder).code == 0
