"""The tables of what methods keep of the features of a published vision tower.

`python -m benchmarks.real_features` prints the tables of the answers in docs/data, `--write` puts
them into docs/data/tables. The answers were measured by the command of this name at commit
8e867062, and those of films with cuts by `benchmarks.films` at the commit in them. Of a clip,
`neighbours` has the similarities of its tokens; of a row, each clip has the tokens kept per frame,
the error of dropped tokens, and whether each question of a probe was right. Films have `held` as
well: how far frames between those that methods get are from the kept tokens nearest to them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.cells import PLUS_MINUS, table_lines
from benchmarks.kept_answers import shown, tables_of
from benchmarks.kept_tables import report

Line = Mapping[str, Any]

_KINDS = {
    "filmed": "{} films",
    "pan": "{} photographs, panned over",
    "zoom": "{} photographs, zoomed into",
    "drawn": "{} drawn clips of `shapes`, features of the bundled model",
    "with cuts": "{} films with cuts",
    "one shot": "{} films of one shot",
}
_SIMILARITIES = {
    "beside each other": "beside",
    "same place, next frame": "later",
    "best place, frame before": "best",
    "any two": "any",
}
_PROBES = {"which clip, %": "which", "order, %": "order", "what changed, %": "changed"}


def table(answers: bytes) -> str:
    """How alike neighbours are, and what each method keeps at each budget, as Markdown."""
    header, *lines = map(json.loads, answers.splitlines())
    of_kind = {
        kind: [line["neighbours"] for line in lines if line.get("kind") == kind] for kind in _KINDS
    }
    found = [(kind, each) for kind, each in of_kind.items() if each]
    rows = (one for one in lines if "row" in one)
    by_budget = sorted(rows, key=lambda one: -(one["retain"] or 1))  # also those added later
    of_films = any(clip["kind"] == "with cuts" for clip in header["clips"])
    columns = _of_films(header) if of_films else _of_methods(header)
    return "\n".join(
        [
            *table_lines(_alike(found[0][1][0]), found),
            "",
            *table_lines(columns, by_budget),
            "",
            _below_films(header) if of_films else _below(header),
        ]
    )


def _alike(measured: Line) -> dict[str, Callable[[tuple[str, Sequence[Line]]], str]]:
    """The columns of a kind of clips and the similarities of each, of those that were measured."""
    columns: dict[str, Callable[[tuple[str, Sequence[Line]]], str]] = {
        "clips": lambda row: _KINDS[row[0]].format(len(row[1]))
    }
    for heading, name in _SIMILARITIES.items():
        if name not in measured:
            continue
        columns[heading] = partial(_mean_of, name)
    columns["same place above 0.9, %"] = lambda row: shown([100 * x["static"] for x in row[1]], 0)
    return columns


def _mean_of(name: str, row: tuple[str, Sequence[Line]]) -> str:
    return shown([one[name] for one in row[1]], 2)


def _over_clips(
    clips: Sequence[Line], line: Line, name: str, digits: int, scale: int = 1, kind: str = ""
) -> str:
    """The mean over clips, of one kind or all, with its error over what they are made of."""
    values, sources = [], []
    for clip, one in zip(clips, line["clips"], strict=True):
        if kind in ("", clip["kind"]):
            each = one[name] if isinstance(one[name], list) else [one[name]]
            values += [scale * value for value in each]
            sources += [clip["source"]] * len(each)
    return shown(values, digits, sources)


def _of_methods(header: Line) -> dict[str, Callable[[Line], str]]:
    """The columns of a row of the measurement."""
    clips = header["clips"]

    def counts(line: Line) -> list[int]:
        return [count for one in line["clips"] for count in one["per_frame"]]

    def kept(line: Line) -> str:
        every = counts(line)
        return f"{100 * sum(every) / (len(every) * header['tokens_per_frame']):.1f}"

    def error(line: Line, name: str) -> str:
        return "0" if line["row"] == "none" else _over_clips(clips, line, name, 3)

    def error_of_films(line: Line) -> str:
        pairs = zip(clips, line["clips"], strict=True)
        films = [one["error"] for clip, one in pairs if clip["kind"] == "filmed"]
        return "0" if line["row"] == "none" else shown(films, 3)

    return {
        "budget": lambda line: f"{100 * line['retain']:.0f} %" if line["retain"] else "–",
        "method": lambda line: f"`{line['row']}`",
        "kept, %": kept,
        "tokens of a frame, least to most": lambda x: f"{min(counts(x))} to {max(counts(x))}",
        "error of dropped tokens": lambda line: error(line, "error"),
        "of films alone": error_of_films,
        "worst twentieth": lambda line: error(line, "worst"),
    } | {
        heading: lambda line, probe=probe: _over_clips(clips, line, probe, 1, 100)
        for heading, probe in _PROBES.items()
    }


def _of_films(header: Line) -> dict[str, Callable[[Line], str]]:
    """The columns of a row of the measurement of films with cuts."""
    clips = header["clips"]

    def of(kind: str, name: str, digits: int, scale: int = 1) -> Callable[[Line], str]:
        return lambda line: _over_clips(clips, line, name, digits, scale, kind)

    return {
        "kept": lambda line: f"{100 * line['retain']:.0f} %" if line["retain"] else "–",
        "rule": lambda line: line["row"],
        "error of dropped tokens, films with cuts": of("with cuts", "error", 4),
        "films of one shot": of("one shot", "error", 4),
        "worst twentieth, with cuts": of("with cuts", "worst", 3),
        "frames between, with cuts": of("with cuts", "held", 4),
        "their shot, %": of("with cuts", "shot", 1, 100),
    }


def _below_films(header: Line) -> str:
    clips = header["clips"]
    with_cuts = [clip for clip in clips if clip["kind"] == "with cuts"]
    films = len({clip["source"] for clip in with_cuts})
    return (
        f"{header['frames']} frames of {header['tokens_per_frame']} tokens, evenly spaced over "
        f"each file. ± is {PLUS_MINUS} films (here {films} with cuts, of which one has two files, "
        f"and {len(clips) - len(with_cuts)} of one shot), of one tower. `{header['model']}` "
        f"(SHA-256 {header['sha256'][:12]}…). {header['machine']}, commit {header['commit']}."
    )


def _below(header: Line) -> str:
    clips = header["clips"]
    sources, films = {one["source"] for one in clips}, [c for c in clips if c["kind"] == "filmed"]
    return (
        f"{len(clips)} clips of {header['frames']} frames of {header['tokens_per_frame']} tokens: "
        f"{len(films)} films, and {len(sources) - len(films)} photographs twice each. ± is "
        f"{PLUS_MINUS} films and photographs (here {len(sources)}), of one "
        f"tower. `{header['model']}` "
        f"(SHA-256 {header['sha256'][:12]}…). {header['machine']}, commit {header['commit']}."
    )


if __name__ == "__main__":
    report(__doc__, lambda: tables_of("real-features", table))
