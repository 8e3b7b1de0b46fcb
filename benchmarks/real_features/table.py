"""The tables of what methods keep of real features."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from dycoke_cli.evaluation.scoring.statistics import clustered_mean

_KINDS = {
    "filmed": "{} films",
    "pan": "{} photographs, panned over",
    "zoom": "{} photographs, zoomed into",
    "drawn": "{} drawn clips of `shapes`, features of the bundled model",
}
_SIMILARITIES = ("beside", "later", "best", "any")
_PROBES = ("which", "order", "changed")


def table(answers: bytes) -> str:
    """How alike neighbours are, and what each method keeps at each budget, as Markdown."""
    header, *lines = map(json.loads, answers.splitlines())
    clips = [line for line in lines if "neighbours" in line]
    return "\n".join([*_similarities(clips), "", *_methods(header, lines), "", _below(header)])


def _similarities(clips: Sequence[dict[str, Any]]) -> list[str]:
    made = [
        "| clips | beside each other | same place, next frame | best place, frame before "
        "| any two | same place above 0.9, % |",
        "| --- " * 6 + "|",
    ]
    for kind, named in _KINDS.items():
        of = [line["neighbours"] for line in clips if line["kind"] == kind]
        if not of:
            continue
        cells = [_shown([one[name] for one in of], 2) for name in _SIMILARITIES]
        static = _shown([100 * one["static"] for one in of], 0)
        made.append(f"| {named.format(len(of))} | {' | '.join(cells)} | {static} |")
    return made


def _methods(header: dict[str, Any], lines: Sequence[dict[str, Any]]) -> list[str]:
    made = [
        "| budget | method | kept, % | tokens of a frame, least to most | error of dropped tokens "
        "| of films alone | worst twentieth | which clip, % | order, % | what changed, % |",
        "| --- " * 10 + "|",
    ]
    rows = (one for one in lines if "row" in one)
    for line in sorted(rows, key=lambda one: -(one["retain"] or 1)):  # also those added later
        counts = [count for one in line["clips"] for count in one["per_frame"]]
        share = 100 * sum(counts) / (len(counts) * header["tokens_per_frame"])
        cells = [
            f"{100 * line['retain']:.0f} %" if line["retain"] else "–",
            f"`{line['row']}`",
            f"{share:.1f}",
            f"{min(counts)} to {max(counts)}",
            *_errors(header["clips"], line),
            *(_over_clips(header["clips"], line, probe, 1, 100) for probe in _PROBES),
        ]
        made.append(f"| {' | '.join(cells)} |")
    return made


def _errors(clips: Sequence[dict[str, Any]], line: dict[str, Any]) -> list[str]:
    if line["row"] == "none":
        return ["0"] * 3
    pairs = zip(clips, line["clips"], strict=True)
    films = [one["error"] for clip, one in pairs if clip["kind"] == "filmed"]
    mean, worst = (_over_clips(clips, line, name, 3) for name in ("error", "worst"))
    return [mean, _shown(films, 3), worst]


def _over_clips(
    clips: Sequence[dict[str, Any]], line: dict[str, Any], name: str, digits: int, scale: int = 1
) -> str:
    """The mean of a measure with its error over films and photographs, which may have two clips."""
    values, sources = [], []
    for clip, one in zip(clips, line["clips"], strict=True):
        each = one[name] if isinstance(one[name], list) else [one[name]]
        values += [scale * value for value in each]
        sources += [clip["source"]] * len(each)
    return _shown(values, digits, sources)


def _below(header: dict[str, Any]) -> str:
    clips = header["clips"]
    sources, films = {one["source"] for one in clips}, [c for c in clips if c["kind"] == "filmed"]
    return (
        f"{len(clips)} clips of {header['frames']} frames of {header['tokens_per_frame']} tokens: "
        f"{len(films)} films, and {len(sources) - len(films)} photographs twice each. ± is one "
        f"standard error over the {len(sources)} films and photographs. `{header['model']}` "
        f"(SHA-256 {header['sha256'][:12]}…). {header['machine']}, commit {header['commit']}."
    )


def _shown(values: Sequence[float], digits: int, clusters: Sequence[str] = ()) -> str:
    names = clusters or [*map(str, range(len(values)))]
    mean, error = clustered_mean(values, names)
    if mean is None:
        return "–"
    return f"{mean:.{digits}f} ± {error or 0:.{digits}f}"
