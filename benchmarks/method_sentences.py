"""Sentences about the tables of methods, made of the same figures: what a table doesn't say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from benchmarks.cells import Document, Row, baseline, by_spec, correct, difference, percent, points
from benchmarks.comparison_tables import LAYERS, OWN, label
from benchmarks.method_choice import AT, CANDIDATES

_RANDOM, _EVS = "random:retain=0.25", "evs:retain=0.1"
"""The rows that show how much models differ."""
_CONTIGUOUS = ":positions=renumbered"


def known(document: Document) -> str:
    """What a model answers on the validation split, without compression."""
    base = document["rows"][0]
    return (
        f"Without compression `{document['name']}` answers {correct(base)} % of "
        f"{base['questions']} questions about {document['videos']} videos of the validation split."
    )


def uncompressed(documents: Collection[Document]) -> str:
    """What each model answers with all tokens, where a table has only differences."""
    told = [f"`{one['name']}` {correct(baseline(one))} %" for one in documents]
    return f"Correct uncompressed: {', '.join(told)}."


def developed_on(validation: Document, whole: Document) -> str:
    """What dycoke-plus costs on the videos that it was developed on, and on others."""
    least = f"{OWN}:retain=0.1"
    seen, others = (difference(by_spec(one)[least]) for one in (validation, whole))
    return (
        f"At 10 % kept `{OWN}` costs less on these videos than on those of the test split: "
        f"{seen} points here, {others} there."
    )


def settings(documents: Mapping[str, Document]) -> str:
    """The layer and the positions of the rows."""
    rows = [row for document in documents.values() for row in document["rows"]]
    given = {row["parameters"]["positions"] for row in rows if "positions" in row["parameters"]}
    kept = " Every row keeps original positions (`kept`)." if given == {"kept"} else ""
    own = next(row for row in rows if row["method"] == "dycoke")
    return (
        f"With L = {_layer(own)}, chosen on validation videos, `dycoke` prunes the KV cache in "
        f"{_pruned(own)} only.{kept}"
    )


def between_models(documents: Mapping[str, Document]) -> str:
    """How much the same rows differ between models, which ± doesn't have."""
    if len(documents) == 1:
        return ""
    drawn = [points(by_spec(one)[_RANDOM]["difference"]) for one in documents.values()]
    ahead = [points(one["ahead"][_EVS]["difference"]) for one in documents.values()]
    return (
        f"± covers the questions of one model, not the choice of the model. The same row on "
        f"{_and(map(_model, documents.values()))}: {label(_RANDOM)} at 25 % {_and(drawn)}; "
        f"`{OWN}` minus {label(_EVS)} at 10 % {_and(ahead)}."
    )


def contiguous(document: Document) -> str:
    """What contiguous positions cost.

    Args:
        document: of the table of stage 2 and positions.
    """
    rows = by_spec(document)
    (spec,) = (spec for spec in rows if spec.endswith(_CONTIGUOUS))
    return (
        f"LLaVA-OneVision's own default is contiguous (`renumbered`): with those `{OWN}` at 25 % "
        f"costs {_model(document)} {_cost(rows[spec])} points, with original ones "
        f"{_cost(rows[spec.removesuffix(_CONTIGUOUS)])} ({document['videos']} videos, "
        f"{correct(baseline(document))} % correct uncompressed; [DyCoke-plus](#dycoke-plus))."
    )


def chosen_setting(shown: Iterable[Row], choice: Document, near: Document) -> str:
    """On how many videos a setting was chosen, and what the default does on the test videos."""
    rows, told = by_spec(near), []
    for row in shown:
        name, *given = row["spec"].split(":")
        default = ":".join(one for one in [name, *given] if one not in CANDIDATES.get(name, ()))
        if default != row["spec"] and default in rows:
            told.append(
                f"The setting of `{name}` was chosen on {choice['videos']} validation videos; its "
                f"default has {difference(rows[default])} at {_budget(row)}."
            )
    return " ".join(told)


def chosen_on_test(fair: Document) -> str:
    """What was chosen on validation videos, against the default on the test videos."""
    rows = by_spec(fair)
    found: dict[str, list[str]] = {}
    for spec, pair in fair["pairs"].items():
        name, *given = spec.split(":")
        if given[0] in CANDIDATES.get(name, ()) and "merge_dropped" not in spec:
            turned = {**pair, "difference": 0 - pair["difference"]}  # 0 has no sign
            found.setdefault(name, []).append(f"{difference(turned)} at {_budget(rows[spec])}")
    if not found:
        return ""
    told = "; ".join(f"`{name}` {', '.join(cells)}" for name, cells in found.items())
    return (
        f"On {fair['videos']} test videos the chosen settings minus the defaults (paired, in "
        f"percentage points; chosen at {percent(AT)} alone): {told}."
    )


def without_effect(choice: Document) -> str:
    """Methods whose candidates all gave the same answers."""
    specs = {row["spec"] for row in choice["rows"]}
    told = []
    for name, candidates in CANDIDATES.items():
        asked = [s for s in specs if any(f"{s}:".startswith(f"{name}:{c}:") for c in candidates)]
        if len({choice["alike"].get(spec, spec) for spec in asked}) == 1:
            told.append(
                f"`{name}`: all {len(asked)} settings gave the same text for all "
                f"{choice['rows'][0]['questions']} questions, so that its parameter changes "
                f"nothing here."
            )
    return " ".join(told)


def _model(document: Document) -> str:
    name = document["name"]
    return "the bundled model" if name == "shipped" else f"`{name}`"


def _and(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _budget(row: Row) -> str:
    return percent(row["parameters"]["retain"])


def _pruned(row: Row) -> str:
    """The layers of stage 2."""
    pruned = LAYERS - _layer(row)
    return f"the last {'' if pruned == 1 else f'{pruned} '}of {LAYERS} layers"


def _layer(row: Row) -> int:
    layer: int = row["parameters"]["prune_layer"]
    return layer


def _cost(row: Row) -> str:
    return difference({**row, "difference": -row["difference"]}).lstrip("+")
