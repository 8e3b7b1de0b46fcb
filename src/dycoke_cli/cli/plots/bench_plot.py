"""Plot of `dycoke bench --plot`: stacked bars of the time per stage, one per configuration.

The SVG is written as XML, so that `bench` doesn't need matplotlib.
"""

from __future__ import annotations

import math
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from dycoke_cli.bench.bench_report import BenchReport, TimedRow
from dycoke_cli.unicode import one_line

STAGES = {
    "video_decode": ("video decode", "#9aa5b1"),
    "preprocess": ("preprocessing", "#c9ced6"),
    "vision": ("vision", "#4c78a8"),
    "prefill": ("prefill", "#f58518"),
    "decode": ("decode", "#54a24b"),
}
"""Consecutive stages, with label and colour."""

_WIDTH, _MARGIN, _RIGHT = 900, 20, 100
_LABELS = 230
_BAR, _GAP, _TOP = 26, 14, 84
_TEXT, _LINES = "#333333", "#dddddd"
# Characters of a label that fit in front of the bars.
_LONGEST = 29


def stacked(report: BenchReport) -> str:
    """Draw the report as SVG."""
    rows = report.rows
    most = max(max(row.seconds.total, _sum(row)) for row in rows) or 1.0
    step = _step(most)
    ticks = math.ceil(most / step - 1e-9)
    scale = (_WIDTH - _LABELS - _RIGHT) / (ticks * step)
    bottom = _TOP + len(rows) * (_BAR + _GAP)
    height = bottom + 50
    svg = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        width=str(_WIDTH),
        height=str(height),
    )
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "13")
    svg.set("fill", _TEXT)
    SubElement(svg, "rect", width="100%", height="100%", fill="white")
    _text(svg, _MARGIN, 26, f"{one_line(report.model.name)}: time per question, by stage", size=16)
    _legend(svg)
    for tick in range(ticks + 1):
        x = _LABELS + tick * step * scale
        line = SubElement(svg, "line", stroke=_LINES)
        _place(line, x1=x, x2=x, y1=_TOP - 8, y2=bottom)
        _text(svg, x, bottom + 18, f"{tick * step:g}", anchor="middle")
    _text(svg, _LABELS, bottom + 38, "seconds (medians of the runs, mean over questions)")
    for number, row in enumerate(rows):
        _bar(svg, row, _TOP + number * (_BAR + _GAP), scale)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _bar(svg: Element, row: TimedRow, y: float, scale: float) -> None:
    group = SubElement(svg, "g", role="img")
    SubElement(group, "title").text = one_line(row.spec)
    baseline = y + _BAR / 2 + 5
    label = one_line(row.spec)
    short = label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"
    _text(group, _LABELS - 10, baseline, short, anchor="end")
    x = float(_LABELS)
    for stage, (name, colour) in STAGES.items():
        value = getattr(row.seconds, stage)
        part = SubElement(group, "rect", fill=colour)
        _place(part, x=x, y=y, width=value * scale, height=_BAR)
        SubElement(part, "title").text = f"{name}: {value:.3g} s"
        x += value * scale
    _text(group, x + 8, baseline, f"{row.seconds.total:.3g} s")


def _legend(svg: Element) -> None:
    x = float(_LABELS)
    for name, colour in STAGES.values():
        _place(SubElement(svg, "rect", fill=colour), x=x, y=46, width=12, height=12)
        _text(svg, x + 18, 57, name)
        x += 34 + 7.5 * len(name)


def _text(
    parent: Element, x: float, y: float, text: str, *, anchor: str = "start", size: int = 13
) -> None:
    element = SubElement(parent, "text")
    _place(element, x=x, y=y)
    element.set("text-anchor", anchor)
    if size != 13:
        element.set("font-size", str(size))
    element.text = text


def _place(element: Element, **numbers: float) -> None:
    for name, value in numbers.items():
        element.set(name, f"{value:.1f}")


def _sum(row: TimedRow) -> float:
    return float(sum(getattr(row.seconds, stage) for stage in STAGES))


def _step(most: float) -> float:
    """Distance of ticks: 1, 2 or 5 times a power of ten, so that there are 4 to 10 ticks."""
    power = 10.0 ** math.floor(math.log10(most / 4))
    return power * max(factor for factor in (1, 2, 5) if factor * power <= most / 4)
