"""What is chosen for a model on the validation split: as many candidates for each method.

The prune layer of DyCoke, and the one parameter of each other method that its paper or its code
gives several values, or that is closest to its rule. Methods without a parameter have nothing to be
chosen. The paper's value is among the three, and stays where another isn't better.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.cells import correct, difference, head, line
from benchmarks.comparison_tables import LAYERS
from benchmarks.raw_answers import SUFFIX, read_answers
from dycoke_cli.compression.registry import METHODS
from dycoke_cli.param import parameters_of

TABLE = "choice"
AT = 0.25
"""The budget at which is chosen, for all."""
CHOSEN = (
    "The same number of settings per method was tried on the same validation videos, at 25 % kept; "
    "a tie keeps the default. Methods that aren't named have no such parameter, or are newer than "
    "these answers."
)
"""What stands above the candidates."""
CANDIDATES: dict[str, tuple[str, ...]] = {
    "dycoke": ("prune_layer=9", "prune_layer=8", "prune_layer=7"),
    "dycoke-plus": ("window=8", "window=4", "window=16"),
    "dart": ("pivots=8", "pivots=4", "pivots=16"),
    "visionzip": ("contextual=0.15625", "contextual=0.3", "contextual=0.5"),
    "holitom": ("merge_threshold=0.8", "merge_threshold=0.65", "merge_threshold=0.9"),
    "flashvid": ("contextual=0.3", "contextual=0.15", "contextual=0.5"),
    "fastvid": ("contextual=0.4", "contextual=0.2", "contextual=0.6"),
    "cdpruner": ("relevance_weight=1", "relevance_weight=0.5", "relevance_weight=0.25"),
    "earlytom": ("group_threshold=0.6", "group_threshold=0.5", "group_threshold=0.7"),
}
"""Of each method; the first is its default here, which is the paper's where it has one."""


def rows() -> list[str]:
    """A row of each candidate, at one budget where the method takes one."""
    every = [
        f"{name}:{setting}" + (f":retain={AT}" if "retain" in parameters_of(METHODS[name]) else "")
        for name, settings in CANDIDATES.items()
        for setting in settings
    ]
    return ["none", *every]


def chosen(data: Path, model: str) -> dict[str, str]:
    """Each method's best setting on the validation split, unless it is the default."""
    path = data / model / f"{TABLE}{SUFFIX}"
    if not path.is_file():
        return {}
    answers = read_answers(path).answers
    right = {text: sum(one.right for one in said.values()) for text, said in answers.items()}
    return {
        name: best
        for name, settings in CANDIDATES.items()
        if (best := _best({one: right[_row(name, one, right)] for one in settings})) != settings[0]
    }


def with_setting(name: str, settings: Mapping[str, str]) -> str:
    """A method as a row names it, with what was chosen for it."""
    return f"{name}:{settings[name]}" if name in settings else name


def choice_table(document: Mapping[str, Any]) -> str:
    """Every candidate on the validation split; the chosen one is bold."""
    found = {row["spec"]: row for row in document["rows"]}
    lines = head("method", "candidates", "correct, %; difference from the uncompressed model")
    for name, settings in CANDIDATES.items():
        of = {one: found[_row(name, one, found)] for one in settings}
        best = _best({one: row["accuracy"] for one, row in of.items()})
        cells = (
            f"{'**' * (one == best)}{_shown(one)}{'**' * (one == best)}: {correct(row)}; "
            f"{difference(row)}"
            for one, row in of.items()
        )
        lines.append(line(f"`{name}`", str(len(settings)), "<br>".join(cells)))
    return "\n".join([*lines, "", f"Uncompressed: {correct(found['none'])} % correct."])


def _shown(setting: str) -> str:
    layer = setting.removeprefix("prune_layer=")
    return setting if layer == setting else f"L = {layer} of {LAYERS}"


def _best(scores: Mapping[str, float]) -> str:
    """The highest; of equal ones the first."""
    return max(scores, key=lambda one: scores[one])


def _row(name: str, setting: str, found: Mapping[str, Any]) -> str:
    return next(text for text in found if f"{text}:".startswith(f"{name}:{setting}:"))
