"""The pages in a real browser: no errors, steps by keyboard, and the numbers are those of JSON.

Needs the package playwright, and a Chromium: its own (`playwright install chromium`) or the
system's.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.changes import Change
from dycoke_cli.evaluation.evaluation_report import EvalReport
from dycoke_cli.evaluation.scored_row import ScoredRow
from dycoke_cli.inspect.inspection import inspect_question, pictures
from dycoke_cli.inspect.page import as_uris, page
from dycoke_cli.json_schema import to_dict
from dycoke_cli.video import Sampling, read
from tests.cli.harness import ROOT
from tests.documents import example

from .test_page import HOSTILE

pytestmark = [pytest.mark.extended, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    with sync_api.sync_playwright() as playwright:
        try:
            path = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"there is no Chromium: {error}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Of the bundled model; question, video and answer replaced by text that wants to be markup."""
    clip = read(ROOT / "sample_videos" / "turn.mp4", Sampling(frames=6))
    session = VideoSession(load("mini", device="cpu", dtype="float32"), clip)
    methods = [DyCoke(), Uncompressed()]
    options = GenerationOptions(max_new_tokens=8)
    found = inspect_question(session, f"{HOSTILE}.mp4", "What happens?", methods, options)
    first, second = found.methods
    hostile = replace(first.trace.steps[1], text=HOSTILE)
    trace = replace(first.trace, steps=(first.trace.steps[0], hostile, *first.trace.steps[2:]))
    found = replace(found, question=HOSTILE, methods=(replace(first, trace=trace), second))
    return {"inspection": to_dict(found), "pictures": as_uris(pictures(session, 160))}


def opened(browser: Any, text: str, folder: Path, **settings: Any) -> Any:
    """The page, opened from disk without a network; an error or a request fails the test."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    shown = browser.new_context(offline=True, **settings).new_page()
    shown.on("console", lambda message: pytest.fail(f"console: {message.text}"))
    shown.on("pageerror", lambda error: pytest.fail(f"error: {error}"))
    shown.on("request", lambda request: _only_own(request.url, file))
    shown.goto(file.as_uri())
    return shown


def _only_own(url: str, file: Path) -> None:
    assert url == file.as_uri() or url.startswith("data:"), url


def said(shown: Any, panel: int) -> dict[str, float]:
    found = shown.locator("article .step").nth(panel).evaluate("node => ({...node.dataset})")
    return {name: float(value) for name, value in found.items()}


def test_an_answer_is_stepped_through_by_keyboard(
    browser: Any, data: dict[str, Any], tmp_path: Path
) -> None:
    shown = opened(browser, page(data), tmp_path)
    for method in data["inspection"]["methods"]:
        assert all(set(step) >= {"active", "evicted"} for step in method["trace"]["steps"])
    longest = max(len(m["trace"]["steps"]) for m in data["inspection"]["methods"])
    for number in range(longest):
        shown.keyboard.press("ArrowRight")
        for panel, method in enumerate(data["inspection"]["methods"]):
            steps = method["trace"]["steps"]
            step = steps[min(number, len(steps) - 1)]
            assert said(shown, panel) == {
                "active": len(step["active"]),
                "evicted": len(step["evicted"]),
                "recalled": len(step["recalled"]),
                "attention": pytest.approx(sum(step["attention"])),
            }
    pressed = shown.locator(".answer button[aria-pressed=true]")
    assert pressed.count() == 2
    shown.keyboard.press("Home")
    assert "Token 1 of" in shown.locator("article .step").first.text_content()
    shown.keyboard.press("Escape")
    assert pressed.count() == 0


def test_the_numbers_are_those_of_json(browser: Any, data: dict[str, Any], tmp_path: Path) -> None:
    shown = opened(browser, page(data), tmp_path)
    rows = shown.locator("#numbers tbody tr").evaluate_all(
        "rows => rows.map(row => [row.cells[0].textContent, ...[...row.cells].slice(1)"
        ".map(cell => Number(cell.dataset.value))])"
    )
    methods = data["inspection"]["methods"]
    expected = {
        "Visual tokens": [m["tokens"]["visual"] for m in methods],
        "Visual tokens at prefill": [m["tokens"]["visual_kept"] for m in methods],
        "Tokens evicted in decode": [m["decode"]["tokens_evicted"] for m in methods],
        "Tokens recalled": [m["decode"]["tokens_recalled"] for m in methods],
        "Reselections": [m["decode"]["choices_renewed"] for m in methods],
        "Generated tokens": [m["tokens"]["generated"] for m in methods],
    }
    found = {name: values for name, *values in rows}
    assert {name: found[name] for name in expected} == expected
    assert len(rows) == 11


def test_hostile_text_is_only_text(browser: Any, data: dict[str, Any], tmp_path: Path) -> None:
    shown = opened(browser, page(data), tmp_path)
    assert shown.title() == "dycoke inspect"
    assert shown.locator("h1").text_content() == HOSTILE
    assert shown.locator(".answer button").nth(1).text_content() == HOSTILE
    assert shown.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Any, data: dict[str, Any], tmp_path: Path, scheme: str) -> None:
    settings = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    shown = opened(browser, page(data), tmp_path, **settings)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    drawn = shown.locator(".frames canvas").first
    shown.wait_for_function("document.querySelector('.frames canvas').width > 1")
    before = drawn.evaluate("canvas => canvas.toDataURL()")
    shown.locator("[data-view=active]").click()
    shown.keyboard.press("End")
    assert drawn.evaluate("canvas => canvas.toDataURL()") != before


def test_changed_answers_are_chosen_and_stepped_through(browser: Any, tmp_path: Path) -> None:
    outcomes = ("fixed", "broken", "still wrong")
    changes = tuple(
        example(Change, model="m", spec=spec, outcome=outcome, question=HOSTILE, said=HOSTILE)
        for spec in ("dycoke", "evs")
        for outcome in outcomes
    )
    rows = tuple(
        example(ScoredRow, model="m", spec=spec, changed=None if spec == "none" else 3)
        for spec in ("none", "dycoke", "evs")
    )
    report = example(EvalReport, rows=rows, changes=changes)
    shown = opened(browser, page({"report": to_dict(report)}), tmp_path)
    cards = shown.locator(".change")
    assert cards.count() == 6
    shown.locator("#row").select_option("evs")
    assert cards.count() == 3
    shown.locator("#outcome").select_option("broken")
    assert cards.count() == 1
    assert cards.locator("h2").text_content() == HOSTILE
    shown.locator("#outcome").select_option("")
    shown.locator("#row").evaluate("select => select.blur()")
    for key, expected in (("ArrowRight", 0), ("ArrowRight", 1), ("End", 2), ("ArrowLeft", 1)):
        shown.keyboard.press(key)
        assert cards.nth(expected).evaluate("card => card === document.activeElement")
