"""Tables of `dycoke eval`: scores, groups, costs and published figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from dycoke_cli.cli.render.figures import explained, headed, points, score, with_texts
from dycoke_cli.cli.render.units import Quantity, column, count, seconds, size
from dycoke_cli.evaluation.dataset import OWN_RULE
from dycoke_cli.evaluation.report.evaluation_report import EvalReport, Judge
from dycoke_cli.evaluation.report.scored_row import ScoredRow
from dycoke_cli.evaluation.scoring.statistics import Accuracy, PartMean
from dycoke_cli.unicode import one_line


def evaluation(report: EvalReport) -> Group:
    """All tables of a report: accuracy overall, published figures, accuracy by group, costs."""
    rows = report.rows
    return Group(
        Text(_title(report), style="bold"),
        Text(),
        _overall(report),
        Text(),
        *(part for table in _published(rows) for part in (table, Text())),
        _by_group(rows),
        Text(),
        *(() if _is_of_logs(report) else (_costs(report), Text())),
        *(part for table in _by_probability(rows) for part in (table, Text())),
        Text(_origin(report), style="dim"),
    )


_Column = tuple[str, Callable[[ScoredRow], str | Quantity]]

_METRICS = {"accuracy": "Accuracy", "rouge_l_f1": "ROUGE-L F1"}
_METHOD: _Column = ("Method", lambda row: one_line(row.spec))
_COMPARED: tuple[_Column, ...] = (
    ("Difference", lambda row: _difference(row)),
    ("Changed", lambda row: _number(row.changed)),
    ("Wrong→right", lambda row: _number(row.fixed)),
    ("Right→wrong", lambda row: _number(row.broken)),
)
_COSTS: tuple[_Column, ...] = (
    ("Prefill", lambda row: _share(row.kept_before_llm)),
    ("Decode", lambda row: _share(row.kept_in_decode)),
    ("Pruned", lambda row: _share(row.kept_in_pruned_layers)),
    ("Time", lambda row: Quantity(row.seconds, seconds)),
    ("KV cache", lambda row: Quantity(row.bytes, size)),
    ("Parameters", lambda row: _parameters(row)),
)
_MANY = 100
"""Number of questions from which the caption omits the detectable difference."""
_LEVEL = 0.05
_MODEL: _Column = ("Model", lambda row: one_line(row.model))
_TEXTS = ("Model", "Method", "Parameters")
_MEASURES = {
    "accuracy": "accuracy, %",
    "judge_accuracy": "judge, %",
    "judge_score": "judge score",
}


def _overall(report: EvalReport) -> Table:
    rows = report.rows
    heading = f"{_METRICS.get(report.metric, report.metric)}, %"
    columns: list[_Column] = [
        *_model_column(report),
        _METHOD,
        (heading, lambda row: f"{points(row.accuracy)} ± {points(row.plus_minus)}"),
    ]
    macro = ""
    if any(row.macro_accuracy is not None for row in rows):
        macro = " Macro: mean of the types."
        columns.append(("Macro, %", lambda row: points(row.macro_accuracy)))
    judge = ""
    if report.judge is not None:
        judge = _judge(report.judge)
        if any(row.judge_accuracy is not None for row in rows):
            columns.append(("Judge, %", lambda row: points(row.judge_accuracy)))
        columns.append(("Judge score", lambda row: score(row.judge_score)))
        if any(row.judge_failed for row in rows):
            columns.append(("Judge failed", lambda row: _number(row.judge_failed)))
    columns += _COMPARED
    if _is_of_logs(report):
        columns.append(("McNemar χ²", _mcnemar))
    # Columns of zeros are omitted.
    if any(row.unparsable for row in rows):
        columns.append(("Unparsable", lambda row: count(row.unparsable)))
    if any(row.failed for row in rows):
        columns.append(("Failed", lambda row: count(row.failed)))
    if any(row.uncounted for row in rows):
        columns.append(("Not counted", lambda row: count(row.uncounted)))
    if any(row.refused for row in rows):
        columns.append(("Refused", lambda row: count(row.refused)))
    return explained(
        _of_columns(rows, columns),
        "± one standard error, clustered by video, widened by Student's t below 30 videos; it "
        "covers the questions, not the model's training. Difference: points from the baseline (none"
        f"{' of the same model' if report.model is None else ''}), on the same questions."
        f"{_apart(rows)}{macro}{judge}{_power(report)}",
    )


def _apart(rows: Sequence[ScoredRow]) -> str:
    """Sentence about the rows that differ from the baseline; empty without p-values."""
    compared = {n: row.difference_p_holm for n, row in enumerate(rows, 1)}
    known = {number: p for number, p in compared.items() if p is not None}
    if not known:
        return ""
    apart = ", ".join(f"#{number}" for number, p in known.items() if p < _LEVEL) or "none"
    several = f" by Holm's procedure over {len(known)} comparisons" if len(known) > 1 else ""
    return f" Different from it at the 5 % level{several} (Student's t): {apart}."


def _power(report: EvalReport) -> str:
    """Sentence about the differences that so few questions can detect; empty for many."""
    compared = [row for row in report.rows if row.difference is not None]
    questions = report.rows[0].questions
    if not compared or (questions >= _MANY and not _is_of_logs(report)):
        return ""
    of = f" {count(questions)} questions about {count(report.videos)} videos"
    shown = [row.detectable for row in compared if row.detectable is not None]
    # Accuracies differ by 100 points at most.
    possible = [one for one in shown if one < 1]
    if shown and not possible:
        return f"{of} are too few to tell a difference."
    if possible:
        least = " to ".join(dict.fromkeys(map(points, (min(possible), max(possible)))))
        rest = "" if possible == shown else "; of some rows they are too few to tell any"
        return (
            f"{of} show a difference from about {least} points on{rest} (80 % power at the 5 % "
            "level: (t0.975 + t0.8) × standard error)."
        )
    if report.videos == 1:
        return " One video has no standard error: it says nothing of others."
    # Exact binomial bound for zero events, by video.
    most = 1 - 0.05 ** (1 / report.videos)
    return (
        f"{of}, of which none moved between right and wrong, still allow for {points(most)} % that "
        "do (95 % confidence: 1 − 0.05^(1/videos))."
    )


def _by_group(rows: Sequence[ScoredRow]) -> Table:
    """Table with a line per group, and a column per row of the report."""
    table = headed("%", "Questions", *(f"#{number}" for number in range(1, len(rows) + 1)))
    table.columns[0].justify = "left"
    for groups in (
        [row.by_type for row in rows],
        [row.by_label for row in rows],
        [row.by_part for row in rows],
    ):
        for name in dict.fromkeys(name for group in groups for name in group):
            means = [group.get(name) for group in groups]
            questions = next(mean for mean in means if mean).questions
            table.add_row(Text(one_line(name)), count(questions), *map(_mean, means))
        table.add_section()
    return table


def _mean(mean: Accuracy | PartMean | None) -> str:
    if mean is None:
        return "–"
    return points(mean.mean if isinstance(mean, PartMean) else mean.accuracy)


def _is_of_logs(report: EvalReport) -> bool:
    """Whether these are logs of lmms-eval, which don't say what answered."""
    return not report.edition


def _mcnemar(row: ScoredRow) -> str:
    if row.mcnemar is None or row.mcnemar_p is None:
        return "–"
    return f"{row.mcnemar:.2f} (p {row.mcnemar_p:.2g})"


def _model_column(report: EvalReport) -> Sequence[_Column]:
    """Column with the model's name, if there are several models."""
    return (_MODEL,) if report.model is None else ()


def _costs(report: EvalReport) -> Table:
    return explained(
        _of_columns(report.rows, (*_model_column(report), *_COSTS)),
        "Visual tokens retained at prefill, and at decode (mean over layers and steps; pruned: in "
        "the pruned layers alone). Time and KV cache: mean per answer.",
    )


def _of_columns(rows: Sequence[ScoredRow], columns: Sequence[_Column]) -> Table:
    """Table with one numbered line per row of the report."""
    table = headed("#", *(heading for heading, _ in columns))
    texts = zip(*(column([value(row) for row in rows]) for _, value in columns), strict=True)
    for number, cells in enumerate(texts, 1):
        table.add_row(str(number), *map(Text, cells))
    return with_texts(table, _TEXTS)


def _by_probability(rows: Sequence[ScoredRow]) -> list[Table]:
    """Table of multiple choice by probability; empty without it."""
    with_choices = [(n, row, one) for n, row in enumerate(rows, 1) if (one := row.probability)]
    if not with_choices:
        return []
    table = headed(
        "#", "Method", "Letters, %", "By probability, %", "Agree", "Probability", "ECE", "Mass"
    )
    for number, row, one in with_choices:
        table.add_row(
            str(number),
            Text(one_line(row.spec)),
            f"{points(one.generated_accuracy)} ± {points(one.generated_plus_minus)}",
            f"{points(one.accuracy)} ± {points(one.plus_minus)}",
            points(one.agree),
            points(one.confidence),
            points(one.calibration_error),
            points(one.mass),
        )
    questions = with_choices[0][2].questions
    explained(
        table,
        f"{count(questions)} multiple-choice questions: letters of generated answers, and the "
        "letters with the highest probability. Probability: its mean. ECE: expected calibration "
        "error in ten bins. Mass: of all letters among all first tokens.",
    )
    return [with_texts(table, ("Method",))]


def _title(report: EvalReport) -> str:
    questions, names = report.rows[0].questions, [model.name for model in report.models]
    if _is_of_logs(report):
        return one_line(
            f"{report.benchmark}, logged by lmms-eval: {count(questions)} questions about "
            f"{count(report.videos)} videos"
        )
    return one_line(
        f"{report.benchmark}, {report.split} split: {count(questions)} questions about "
        f"{count(report.videos)} videos, {_frames(report.frames)}, "
        f"model{'' if len(names) == 1 else 's'} {', '.join(names)}"
    )


def _parameters(row: ScoredRow) -> str:
    frames = {} if row.frames is None else {"frames": row.frames}
    parameters = {name: value for name, value in row.parameters.items() if value is not None}
    values = {**frames, **parameters}
    return one_line(" ".join(f"{name}={_value(value)}" for name, value in values.items()))


def _origin(report: EvalReport) -> str:
    if _is_of_logs(report):
        return one_line(f"Scores of lmms-eval in {report.journal}; the first is the baseline")
    several, commits = report.model is None, report.commits
    models = "; ".join(
        f"{f'{model.name}: ' if several else ''}"
        + (
            "on a server"
            if model.weights is None
            else f"{model.dtype} on {model.device}, weights {model.weights[:19]}"
        )
        for model in report.models
    )
    made_by = f"dycoke {report.version}" + (f", commit {', '.join(commits)}" if commits else "")
    rule = "" if report.rule == OWN_RULE else f"; scored as {report.rule} 0.7.3 does"
    return one_line(
        f"Benchmark version {report.edition}{rule}; {models}; {made_by}; answers in "
        f"{report.journal}"
    )


def _frames(frames: int | None) -> str:
    return "as many frames as --fps takes" if frames is None else f"{frames} frames"


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _judge(judge: Judge) -> str:
    """Sentence about the judge, with dates, since hosted models change over time."""
    served = [name for name in judge.served if name != judge.model]
    names = f"{judge.model} (served as {', '.join(served)})" if served else judge.model
    days = " to ".join(dict.fromkeys((judge.first_date, judge.last_date)))
    return one_line(f" Judge: {names}, prompt {judge.prompt}, {days}; score from 0 to 5.")


def _difference(row: ScoredRow) -> str:
    if row.difference is None:
        return "–"
    return f"{100 * row.difference:+.1f} ± {points(row.difference_plus_minus)}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _number(value: int | None) -> str:
    return "–" if value is None else count(value)


def _published(rows: Sequence[ScoredRow]) -> list[Table]:
    """Tables of published figures and of differing conditions; empty without published figures."""
    with_figures = [(str(n), row, row.published) for n, row in enumerate(rows, 1) if row.published]
    if not with_figures:
        return []
    figures = headed("#", "Published row", "Measure", "Measured here", "Published")
    for number, row, source in with_figures:
        for measure, value in source.figures.items():
            figures.add_row(
                number,
                Text(one_line(source.row)),
                _MEASURES[measure],
                _measured(row, measure),
                _shown(measure, value),
            )
        if source.tflops is not None:
            row_there = Text(one_line(source.row))
            here = "–" if row.flops is None else f"{row.flops / 1e12:.1f}"
            figures.add_row(number, row_there, "paper FLOPs, 10¹²", here, f"{source.tflops:.1f}")
    papers = dict.fromkeys(source.paper for _, _, source in with_figures)
    explained(
        figures,
        f"Published: by {', '.join(papers)}, under other conditions (below); it isn't a result of "
        "this run.",
    )
    conditions = headed("Condition that differs", "Rows", "Here", "Published")
    numbers: dict[tuple[str, str, str], list[str]] = {}
    for number, _, source in with_figures:
        for one in source.differs:
            numbers.setdefault((one.name, one.here, one.published), []).append(number)
    for (name, here, published), of in numbers.items():
        which = "all" if len(of) == len(rows) else ", ".join(f"#{number}" for number in of)
        conditions.add_row(*(Text(one_line(cell)) for cell in (name, which, here, published)))
    return [
        with_texts(figures, ("Published row", "Measure")),
        with_texts(conditions, ("Condition that differs", "Rows", "Here", "Published")),
    ]


def _measured(row: ScoredRow, measure: str) -> str:
    value = getattr(row, measure)
    if value is None:
        return "–"
    error = f" ± {points(row.standard_error)}" if measure == "accuracy" else ""
    return _shown(measure, value) + error


def _shown(measure: str, value: float) -> str:
    return score(value) if measure == "judge_score" else points(value)
