"""The measurements behind the tables of docs/data, which are made from them again."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from benchmarks.json_lines import read_lines
from benchmarks.kept_tables import report
from benchmarks.raw_answers import DATA, SUFFIX
from benchmarks.speed.journal import Heat
from benchmarks.speed.measured import Measured
from benchmarks.speed.tables import OF_PART, page

KEPT = DATA / f"speed{SUFFIX}"


def made_again(file: Path = KEPT) -> dict[str, str]:
    """The text of each table, by its name."""
    measured: dict[str, dict[int, dict[str, list[Measured]]]] = {}
    about: dict[str, Heat] = {}
    for line in read_lines(file):
        heats = measured.setdefault(line["table"], {})
        rounds = heats.setdefault(line["frames"], {}).setdefault(line["contestant"], [])
        rounds.append(Measured(**line["measured"]))
        about[line["table"]] = Heat(**{each.name: line[each.name] for each in fields(Heat)})
    return {name: page(heat, OF_PART[heat.part], measured[name]) for name, heat in about.items()}


if __name__ == "__main__":
    report(__doc__, made_again)
