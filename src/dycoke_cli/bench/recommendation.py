"""The recommendation of a benchmark without labels, and its risks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dycoke_cli.bench.bench_report import Recommendation, TimedRow

_NAMED = 3


@dataclass(frozen=True)
class Basis:
    """What a recommendation rests on.

    Args:
        videos: how many.
        questions: pairs of a video and a question.
        runs: of each.
        sampled: whether answers are sampled (a temperature above 0).
        domain: all that the model knows, such as "moving shapes"; None of a general one.
        random_weights: whether the model's weights are random.
        served: whether a server answered.
    """

    videos: int
    questions: int
    runs: int
    sampled: bool = False
    domain: str | None = None
    random_weights: bool = False
    served: bool = False


def recommend(rows: Sequence[TimedRow], basis: Basis) -> Recommendation:
    """The fastest configuration that changed no answer; else what there is to weigh.

    One counts as faster where its slowest run took less time than the baseline's fastest.

    Args:
        rows: all, with the baseline (whose `changed` is None).
        basis: what they were measured on.
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
        close = [row.spec for row in unchanged[1:] if row.total_least <= best.total_most]
        if close:
            text += f" Its runs overlap with those of {_listed(close)}: as good a choice by time."
        named = [best]
        if faster[0] is not best:
            named.append(faster[0])
            text += f" {faster[0].spec} is faster still ({_gain(faster[0], base, basis)})."
        return Recommendation("unchanged", best.spec, text, tuple(_risks(rows, base, named, basis)))
    if faster:
        fastest, closest = faster[0], min(faster, key=lambda row: row.changed or 0)
        weighed = [fastest] if fastest is closest else [closest, fastest]
        text = (
            "No configuration is faster and changed no answer. "
            + " ".join(f"{_named(row, weighed)} {_gain(row, base, basis)}." for row in weighed)
            + " Read the answers side by side before you choose; the baseline is the safe choice."
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
    own, plain = row.seconds.total, base.seconds.total
    return f"{plain / own:.2f} times as fast as the baseline ({own:.3g} s instead of {plain:.3g} s)"


def _gain(row: TimedRow, base: TimedRow, basis: Basis) -> str:
    changed = f"{row.changed} of {_counted(basis.questions, 'answer')} changed"
    return f"{base.seconds.total / row.seconds.total:.2f} times as fast as the baseline, {changed}"


def _no_change(basis: Basis) -> str:
    if basis.questions == 1:
        return "the one answer didn't change"
    return f"none of {basis.questions} answers changed"


def _least_memory(base: TimedRow, unchanged: Iterable[TimedRow]) -> str:
    """A sentence about the configuration that saves most memory with the baseline's answers."""
    held = [(row.bytes.kv_cache, row) for row in unchanged if row.bytes.kv_cache is not None]
    own = base.bytes.kv_cache
    if own is None or not held:
        return ""
    bytes_, least = min(held, key=lambda one: one[0])
    share = bytes_ / own
    if share >= 1:
        return ""
    return f" For memory: {least.spec} changed no answer with {100 * share:.0f} % of the KV cache."


def _risks(
    rows: Sequence[TimedRow], base: TimedRow, weighed: list[TimedRow], basis: Basis
) -> Iterator[str]:
    """What these measurements can't show, in order of weight.

    Args:
        rows: all.
        base: the baseline.
        weighed: those that the text names for their speed.
        basis: what they were measured on.
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
        # Questions about one video go together.
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
        written, by_base = row.tokens.generated, base.tokens.generated
        if written is not None and by_base is not None and written != by_base:
            yield (
                f"{row.spec} generated {written:.3g} tokens per answer, the baseline "
                f"{by_base:.3g}: part of the difference in time is the length of "
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
