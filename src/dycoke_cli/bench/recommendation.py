"""Recommendation of a configuration from a benchmark without labels, with its caveats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dycoke_cli.bench.bench_report import Recommendation, TimedRow

_NAMED = 3


@dataclass(frozen=True)
class Basis:
    """Size and conditions of a benchmark.

    Args:
        videos: number of videos.
        questions: number of (video, question) pairs.
        runs: number of counted runs.
        sampled: whether answers are sampled (temperature above 0).
        domain: the only domain of the model, such as "moving shapes"; None for a general model.
        random_weights: whether the weights are random.
        served: whether a server answered.
        load_s: seconds that loading took, which a command that asks once adds to each row; None for
            a server.
    """

    videos: int
    questions: int
    runs: int
    sampled: bool = False
    domain: str | None = None
    random_weights: bool = False
    served: bool = False
    load_s: float | None = None


def recommend(rows: Sequence[TimedRow], basis: Basis) -> Recommendation:
    """Recommend the fastest configuration that changed no answer, or describe the trade-off.

    A configuration counts as faster if its slowest run beats the baseline's fastest: with a few
    runs, a comparison of means would often decide by noise.

    Args:
        rows: all rows, including the baseline (whose `changed` is None).
        basis: size and conditions of the benchmark.
    """
    base = next(row for row in rows if row.changed is None)
    others = [row for row in rows if row.changed is not None and not row.control]
    faster = sorted(
        (row for row in others if row.total_most < base.total_least),
        key=lambda row: row.seconds.total,
    )
    unchanged = [row for row in faster if row.changed == 0]
    saving = _least_memory(base, [row for row in others if row.changed == 0])
    if not others:
        return Recommendation(
            "nothing_to_compare",
            None,
            "Only the baseline was measured: name methods to compare it with (--methods).",
            tuple(_risks(rows, base, [], basis)),
        )
    if unchanged:
        best = unchanged[0]
        text = f"{best.spec}: {_speed(best, base)}, and {_no_change(basis)}."
        # Overlapping ranges of runs: the order of these configurations may be noise.
        close = [row.spec for row in unchanged[1:] if row.total_least <= best.total_most]
        if close:
            text += f" Its runs overlap with those of {_listed(close)}: as good a choice by time."
        compared = [best]
        if faster[0] is not best:
            compared.append(faster[0])
            text += f" {faster[0].spec} is faster still ({_gain(faster[0], base, basis)})."
        text += _with_loading(best, base, basis)
        risks = tuple(_risks(rows, base, compared, basis))
        return Recommendation("unchanged", best.spec, text, risks)
    if faster:
        # The two ends of the trade-off; those in between are in the table.
        fastest, closest = faster[0], min(faster, key=lambda row: row.changed or 0)
        weighed = [fastest] if fastest is closest else [closest, fastest]
        text = (
            "No configuration is faster and changed no answer. "
            + " ".join(f"{_named(row, weighed)} {_gain(row, base, basis)}." for row in weighed)
            + " Read the answers side by side before you choose; the baseline is the safe choice."
            + _with_loading(fastest, base, basis)
        )
        return Recommendation(
            "trade_off", None, text + saving, tuple(_risks(rows, base, weighed, basis))
        )
    text = (
        f"Stay with the baseline ({base.spec}): nothing was measurably faster here (a slowest run "
        "below the baseline's fastest)."
    )
    return Recommendation("no_gain", base.spec, text + saving, tuple(_risks(rows, base, [], basis)))


def _named(row: TimedRow, weighed: list[TimedRow]) -> str:
    if len(weighed) == 1:
        return f"{row.spec}:"
    return f"Fewest changes: {row.spec}," if row is weighed[0] else f"Fastest: {row.spec},"


def _speed(row: TimedRow, base: TimedRow) -> str:
    seconds, before = row.seconds.total, base.seconds.total
    speedup = f"{before / seconds:.2f} times as fast as the baseline"
    return f"{speedup} ({seconds:.3g} s instead of {before:.3g} s)"


def _with_loading(row: TimedRow, base: TimedRow, basis: Basis) -> str:
    """Sentence about a command that asks one question, whose time includes loading the model."""
    if basis.load_s is None:
        return ""
    speedup = (basis.load_s + base.seconds.total) / (basis.load_s + row.seconds.total)
    return (
        f" A command that asks once also loads the model ({basis.load_s:.3g} s): with {row.spec} "
        f"it is {speedup:.2f} times as fast."
    )


def _gain(row: TimedRow, base: TimedRow, basis: Basis) -> str:
    changed = f"{row.changed} of {_counted(basis.questions, 'answer')} changed"
    return f"{base.seconds.total / row.seconds.total:.2f} times as fast as the baseline, {changed}"


def _no_change(basis: Basis) -> str:
    if basis.questions == 1:
        return "the one answer didn't change"
    return f"none of {basis.questions} answers changed"


def _least_memory(base: TimedRow, unchanged: Iterable[TimedRow]) -> str:
    """Sentence about the configuration with the least memory that changed no answer."""
    sizes = [(row.bytes.kv_cache, row) for row in unchanged if row.bytes.kv_cache is not None]
    baseline = base.bytes.kv_cache
    if baseline is None or not sizes:
        return ""
    bytes_, least = min(sizes, key=lambda one: one[0])
    share = bytes_ / baseline
    if share >= 1:
        return ""
    return f" For memory: {least.spec} changed no answer with {100 * share:.0f} % of the KV cache."


def _risks(
    rows: Sequence[TimedRow], base: TimedRow, weighed: list[TimedRow], basis: Basis
) -> Iterator[str]:
    """Caveats of the measurements, most important first.

    Args:
        rows: all rows.
        base: the baseline.
        weighed: rows that the text names for their speed.
        basis: size and conditions of the benchmark.
    """
    if basis.domain is not None:
        yield (
            f"This model only understands synthetic clips of {basis.domain}: neither its answers "
            "nor its times say anything about a model for real videos."
        )
    if basis.random_weights:
        yield (
            "The weights are random: times and memory hold, but the answers mean nothing, and so "
            "whether they changed means nothing either."
        )
    if basis.served:
        yield (
            "A server answered, one request at a time: the network and whoever else asks it are "
            "part of the times, and under load others may be the fastest."
        )
    asked = _counted(basis.questions, "question")
    about = _counted(basis.videos, "video")
    yield (
        f"{asked} about {about} without reference answers can't show accuracy: an answer that "
        "stayed the same may be wrong, and one that changed may be right. `dycoke eval` measures "
        "accuracy on labelled questions."
    )
    if any(row.changed == 0 for row in weighed):
        # Exact binomial bound for zero events, with n = videos: questions about one video aren't
        # independent.
        most = 1 - 0.05 ** (1 / basis.videos)
        yield (
            f"No change among {asked} about {about} still allows for up to {100 * most:.0f} % of "
            "such questions to change (95 % confidence by video, if these were drawn at random "
            "from yours; more if they weren't, or ask for smaller or briefer things)."
        )
    for row in rows:
        if row.control and row.changed is not None and row.changed < basis.questions:
            same = basis.questions - row.changed
            yield (
                f"{row.spec} gave the baseline's answer to {same} of {asked}: those don't need "
                "the whole video, and say little about compression."
            )
    for row in weighed:
        length, base_length = row.tokens.generated, base.tokens.generated
        if length is not None and base_length is not None and length != base_length:
            yield (
                f"{row.spec} generated {length:.3g} tokens per answer, the baseline "
                f"{base_length:.3g}: part of the difference in time is the length of "
                "the answers (compare the time per token)."
            )
    if basis.runs == 1:
        yield (
            "One run can't show how much times vary from run to run: which configuration is the "
            "fastest may be chance. Use --runs 3 or more."
        )
    compared = sum(row.changed is not None and not row.control for row in rows)
    if weighed and compared > 1:
        yield (
            f"What is named is the best of {compared} configurations on the very questions that it "
            "was chosen by, so it looks better than it is: try it on others."
        )
    if basis.sampled:
        yield (
            "Answers were sampled (--temperature): a change may be chance, although all "
            "configurations used one seed. Greedy decoding (0) compares better."
        )


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
