"""What is recommended, and with which reservations, on rows made up for each rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycoke_cli.bench.bench_report import TimedRow
from dycoke_cli.bench.recommendation import Basis, recommend
from tests.bench.made_up import row

BASIS = Basis(videos=2, questions=4, runs=3)
BASE = row("none", 4.0, None)


@pytest.mark.parametrize(
    ("rows", "kind", "spec"),
    [
        ([BASE], "nothing_to_compare", None),
        # The fastest of those that changed nothing, however fast others are.
        ([BASE, row("a", 3.0, 0), row("b", 2.0, 0), row("c", 1.0, 1)], "unchanged", "b"),
        ([BASE, row("a", 2.0, 1), row("b", 1.0, 4)], "trade_off", None),
        ([BASE, row("a", 5.0, 0)], "no_gain", "none"),
        ([BASE, row("a", 4.0, 0)], "no_gain", "none"),
        # Neither changed nor faster: what is faster changed something.
        ([BASE, row("a", 5.0, 0), row("b", 1.0, 1)], "trade_off", None),
        # Its slowest run takes as long as the fastest of the baseline.
        ([row("none", 4.0, None, spread=0.5), row("a", 3.0, 0, spread=0.5)], "no_gain", "none"),
        ([row("none", 4.0, None, spread=0.4), row("a", 3.0, 0, spread=0.5)], "unchanged", "a"),
        # A control is never recommended.
        ([BASE, row("no-video", 0.1, 0, control=True)], "nothing_to_compare", None),
        (
            [BASE, row("no-video", 0.1, 0, control=True), row("a", 3.0, 0)],
            "unchanged",
            "a",
        ),
        ([BASE, row("no-video", 0.1, 0, control=True), row("a", 5.0, 0)], "no_gain", "none"),
    ],
)
def test_kinds(rows: list[TimedRow], kind: str, spec: str | None) -> None:
    for order in (rows, [rows[0], *reversed(rows[1:])]):
        found = recommend(order, BASIS)
        assert (found.kind, found.spec) == (kind, spec)


def test_what_was_gained_is_told() -> None:
    found = recommend([BASE, row("a", 2.5, 0), row("b", 1.6, 3)], BASIS)
    assert found.text == (
        "a: 1.60 times as fast as the baseline (2.5 s instead of 4 s), and none of 4 answers "
        "changed. b is faster still (2.50 times as fast as the baseline, 3 of 4 answers changed)."
    )


@pytest.mark.parametrize(
    ("rows", "named"), [([row("a", 2.0, 0)], "a"), ([row("a", 3.0, 1), row("b", 2.0, 4)], "b")]
)
def test_loading_counts_for_a_command_that_asks_once(rows: list[TimedRow], named: str) -> None:
    # 4 + 6 seconds in place of 2 + 6.
    text = recommend([BASE, *rows], replace(BASIS, load_s=6.0)).text
    assert text.endswith(
        "A command that asks once also loads the model (6 s): "
        f"with {named} it is 1.25 times as fast."
    )
    assert "load" not in recommend([BASE, *rows], BASIS).text


def test_runs_that_overlap_are_no_order() -> None:
    near = [row(f"near{n}", 2.0 + n / 10, 0, spread=0.2) for n in range(6)]
    text = recommend([BASE, *near], BASIS).text
    # From 1.8 to 2.2 s; near4 begins at 2.2, near5 at 2.3.
    assert text.endswith(
        "Its runs overlap with those of near1, near2, near3 and 1 more: as good a choice by time."
    )
    apart = recommend([BASE, row("a", 2.0, 0, spread=0.2), row("b", 2.5, 0, spread=0.2)], BASIS)
    assert "overlap" not in apart.text


def test_the_best_of_several_looks_better_than_it_is() -> None:
    several = (row("a", 1.0, 0), row("b", 2.0, 1), row("one-frame", 0.1, 4, control=True))
    assert "the best of 2 configurations" in risks(*several)
    assert "the best of" not in risks(several[0], several[2])
    assert "the best of" not in risks(row("a", 9.0, 0), row("b", 9.0, 0))


def test_a_trade_off_names_the_fastest_and_the_one_with_fewest_changes() -> None:
    rows = [BASE, row("a", 1.0, 3), row("b", 2.0, 1), row("c", 3.0, 2), row("d", 5.0, 0, kv=250)]
    text = recommend(rows, BASIS).text
    assert "Fewest changes: b, 2.00 times as fast as the baseline, 1 of 4 answers changed." in text
    assert "Fastest: a, 4.00 times as fast as the baseline, 3 of 4 answers changed." in text
    assert "c" not in [word.strip(",:") for word in text.split()]
    assert text.endswith("For memory: d changed no answer with 25 % of the KV cache.")


def test_memory_is_told_where_nothing_is_faster() -> None:
    rows = [BASE, row("a", 5.0, 0, kv=300), row("b", 5.0, 0, kv=400), row("c", 5.0, 1, kv=100)]
    assert (
        "For memory: a changed no answer with 30 % of the KV cache" in recommend(rows, BASIS).text
    )
    assert "For memory" not in recommend([BASE, row("a", 5.0, 0)], BASIS).text


def risks(*rows: TimedRow, basis: Basis = BASIS) -> str:
    return "\n".join(recommend([BASE, *rows], basis).risks)


@pytest.mark.parametrize(
    "others",
    [(), (row("a", 1.0, 0),), (row("a", 1.0, 2),), (row("a", 9.0, 0),)],
    ids=["nothing_to_compare", "unchanged", "trade_off", "no_gain"],
)
def test_it_always_says_what_questions_without_labels_cannot_show(
    others: tuple[TimedRow, ...],
) -> None:
    told = risks(*others)
    assert "4 questions about 2 videos without reference answers can't show accuracy" in told


@pytest.mark.parametrize(
    ("videos", "most"),
    # The chance of no change among n is (1 - p)^n: at p = 1 - 0.05^(1/n) it is 5 %. Questions about
    # one video count once.
    [(1, "95 %"), (2, "78 %"), (10, "26 %"), (59, "5 %")],
)
def test_how_many_could_still_change(videos: int, most: str) -> None:
    told = risks(row("a", 1.0, 0), basis=Basis(videos=videos, questions=3 * videos, runs=3))
    assert f"allows for up to {most} of such questions" in told
    assert "allows for" not in risks(row("a", 1.0, 2))


def test_a_model_of_one_domain_says_so_first() -> None:
    basis = Basis(videos=1, questions=1, runs=3, domain="moving shapes")
    first = recommend([BASE, row("a", 1.0, 0)], basis).risks[0]
    assert first.startswith("This model only understands synthetic clips of moving shapes")
    assert "synthetic" not in risks(row("a", 1.0, 0))


def test_random_weights_say_nothing() -> None:
    basis = Basis(videos=1, questions=1, runs=3, random_weights=True)
    assert "the answers mean nothing" in risks(row("a", 1.0, 0), basis=basis)
    assert "random:" not in risks(row("a", 1.0, 0))


def test_answers_of_another_length_are_part_of_the_time() -> None:
    told = risks(row("a", 1.0, 2, generated=2.5))
    assert "a generated 2.5 tokens per answer, the baseline 4: part of the difference" in told
    assert "part of the difference" not in risks(row("a", 1.0, 2))
    # Also of one that isn't recommended, but named for its speed.
    told = risks(row("a", 2.0, 0), row("b", 1.0, 2, generated=2.5), row("c", 1.5, 2, generated=3))
    assert "b generated 2.5 tokens per answer" in told
    assert "c generated" not in told


def test_questions_that_need_no_video_are_told() -> None:
    told = risks(row("a", 1.0, 0), row("no-video", 0.1, 1, control=True))
    assert "no-video gave the baseline's answer to 3 of 4 questions" in told
    assert "no-video" not in risks(row("a", 1.0, 0), row("no-video", 0.1, 4, control=True))


def test_one_run_and_sampling_are_told() -> None:
    basis = Basis(videos=1, questions=1, runs=1, sampled=True)
    told = risks(row("a", 1.0, 0), basis=basis)
    assert "One run can't show how much times vary" in told
    assert "Answers were sampled (--temperature)" in told
    assert "One run" not in risks(row("a", 1.0, 0))
    assert "sampled" not in risks(row("a", 1.0, 0))
