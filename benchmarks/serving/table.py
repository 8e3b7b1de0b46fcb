"""The table of what was measured under load: medians of the runs, and how far runs are apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.cells import table_lines
from benchmarks.serving.load import percentile

BASELINE = "none"


@dataclass(frozen=True)
class Cell:
    """A method under so many requests at once: medians of the runs."""

    runs: int  # how many
    prompt_tokens: int  # of a request
    requests_s: float  # answered per second
    slowest_s: float  # the same of the slowest run
    fastest_s: float  # of the fastest one
    tokens_s: float  # generated per second
    ttft_s: float  # median of the requests
    ttft_p95_s: float  # 95th percentile of them
    tpot_s: float  # median of the requests, for a token behind the first
    tpot_p95_s: float  # 95th percentile of them
    selection_s: float  # what the method takes to select the tokens of one video, by itself

    def requests_per_second(self) -> str:
        """The median, with the slowest and the fastest run."""
        return f"{self.requests_s:.2f} ({self.slowest_s:.2f} to {self.fastest_s:.2f})"


def cells(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[int, str], Cell]:
    """By requests at once and method."""
    runs = defaultdict(list)
    for row in rows:
        runs[row["at_once"], row["spec"]].append(row)
    return {key: _cell(of_key) for key, of_key in runs.items()}


def _cell(runs: list[Mapping[str, Any]]) -> Cell:
    requests_s = [row["requests"] / row["seconds"] for row in runs]
    return Cell(
        runs=len(runs),
        prompt_tokens=runs[0]["prompt_tokens"],
        requests_s=median(requests_s),
        slowest_s=min(requests_s),
        fastest_s=max(requests_s),
        tokens_s=median(row["generated"] / row["seconds"] for row in runs),
        ttft_s=median(median(row["ttft_s"]) for row in runs),
        ttft_p95_s=median(percentile(row["ttft_s"], 0.95) for row in runs),
        tpot_s=median(median(row["tpot_s"]) for row in runs),
        tpot_p95_s=median(percentile(row["tpot_s"], 0.95) for row in runs),
        selection_s=median(row["selection_s"] for row in runs),
    )


def table(rows: list[Mapping[str, Any]]) -> str:
    """The table of one model."""
    found = cells(rows)
    columns: dict[str, Callable[[tuple[int, str]], str]] = {
        "at once": lambda key: str(key[0]),
        "method": lambda key: f"`{key[1]}`",
        "prompt tokens": lambda key: str(found[key].prompt_tokens),
        "requests/s (slowest to fastest run)": lambda key: found[key].requests_per_second(),
        "of `none`": lambda key: (
            f"{found[key].requests_s / found[key[0], BASELINE].requests_s:.2f}"
        ),
        "tokens/s": lambda key: f"{found[key].tokens_s:.1f}",
        "TTFT, s": lambda key: f"{found[key].ttft_s:.2f}",
        "its 95th percentile": lambda key: f"{found[key].ttft_p95_s:.2f}",
        "TPOT, ms": lambda key: f"{found[key].tpot_s * 1000:.0f}",
        "TPOT's 95th percentile": lambda key: f"{found[key].tpot_p95_s * 1000:.0f}",
        "selection, ms": lambda key: f"{found[key].selection_s * 1000:.1f}",
    }
    return "\n".join(table_lines(columns, found))


def circumstances(rows: list[Mapping[str, Any]]) -> str:
    """Where the rows of a model were measured, and with what, as a sentence or two."""

    def every(key: str) -> str:
        return ", ".join(dict.fromkeys(str(row[key]) for row in rows))

    loads = [row["load"] for row in rows]
    counts = {row["at_once"]: row["requests"] for row in rows}
    runs = sorted({cell.runs for cell in cells(rows).values()})
    return (
        f"{every('frames')} frames, {every('tokens')} new tokens, dtype {every('dtype')}; "
        f"{', '.join(map(str, counts.values()))} requests at {', '.join(map(str, counts))} at "
        f"once; medians of {'-'.join(map(str, runs))} runs, methods in turns. Commit "
        f"{every('commit')}, {every('machine')}, {every('threads')} thread(s) of PyTorch, "
        f"{every('versions')}; load average of the machine {min(loads):.0f} to {max(loads):.0f}."
    )
