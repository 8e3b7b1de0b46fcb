"""Medians, means and changed answers, against figures computed by hand."""

from __future__ import annotations

from dycoke_cli.bench.bench_report import TimedRow
from dycoke_cli.bench.bench_run import Runs, timed_row, unstable_answers
from tests.bench.made_up import answer, measured, rows_of, stages

WHO, WHERE = ("v", "Who?"), ("w", "Where?")


def results() -> dict[str, Runs]:
    return {
        "none": {
            WHO: [measured("a dog", t, kv=1000) for t in (9.0, 1.0, 2.0)],
            WHERE: [measured("a park", t, kv=3000) for t in (4.0, 6.0, 30.0)],
        },
        "evs": {
            WHO: [measured("a dog", t, kv=500, peak=p) for t, p in ((1.0, 7), (1.0, 9), (2.0, 8))],
            WHERE: [measured("a street", t, kv=500, peak=5) for t in (3.0, 2.0, 5.0)],
        },
    }


def timed(made: dict[str, Runs]) -> list[TimedRow]:
    return [timed_row(row, made[row.spec.text], made["none"]) for row in rows_of(",".join(made))]


def test_rows_are_means_over_questions_of_medians_over_runs() -> None:
    made = results()
    none, evs = timed(made)
    # Medians 2 and 6, and 1 and 3.
    assert (none.seconds.total, evs.seconds.total) == (4.0, 2.0)
    # By run: (9+4)/2, (1+6)/2, (2+30)/2, and (1+3)/2, (1+2)/2, (2+5)/2.
    assert (none.total_least, none.total_most) == (3.5, 16.0)
    assert (evs.total_least, evs.total_most) == (1.5, 3.5)
    assert (none.bytes.kv_cache, evs.bytes.kv_cache) == (2000.0, 500.0)
    assert (none.tokens.visual, none.tokens.visual_kept, none.tokens.generated) == (64, 32, 4)


def test_the_peak_is_the_highest_or_unknown() -> None:
    made = results()
    none, evs = timed(made)
    assert (none.bytes.peak_total, evs.bytes.peak_total) == (None, 9)
    # One run without a figure could have had a higher one.
    made["evs"][WHERE][1] = measured("a street")
    assert timed(made)[1].bytes.peak_total is None


def test_changed_answers_are_counted_against_the_baseline() -> None:
    none, evs = timed(results())
    assert (none.changed, evs.changed) == (None, 1)


def test_stages_have_medians_of_their_own_and_null_is_left_out() -> None:
    runs = [
        stages(1.0, prefill=5.0, decode_per_token=None),
        stages(3.0, prefill=1.0, decode_per_token=0.4),
        stages(2.0, prefill=3.0, decode_per_token=0.2),
    ]
    [row] = timed({"none": {WHO: [(answer(), each) for each in runs]}})
    assert (row.seconds.total, row.seconds.prefill) == (2.0, 3.0)
    assert abs((row.seconds.decode_per_token or 0) - 0.3) < 1e-12


def test_answers_that_differ_from_run_to_run_are_told() -> None:
    made = results()
    assert unstable_answers(made) == []
    made["evs"][WHO][2] = measured("a cat")
    [sentence] = unstable_answers(made)
    assert sentence.startswith("evs answered 'Who?' about v differently in two runs")
