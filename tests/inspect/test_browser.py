"""The pages in a real browser: no errors, steps by keyboard, and the numbers are those of JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli import DyCoke, Uncompressed, VideoSession, load
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.inspect.inspection import as_uris, inspect_question, page, pictures
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests import browser as browsers
from tests.browser import (
    HOSTILES,
    TURNED,
    browser,
    everywhere,
    is_only_text,
    numbers_are_of,
    steps_by_keyboard,
)
from tests.cli.harness import ROOT
from tests.inspect.test_page import HOSTILE

__all__ = ["browser"]  # a fixture

pytestmark = [pytest.mark.extended, pytest.mark.slow]


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """Of the bundled model; question, video and answer replaced by text that wants to be markup."""
    clip = read(ROOT / "sample_videos" / "turn.mp4", Sampling(frames=6))
    session = VideoSession(load("mini", device="cpu", dtype="float32"), clip)
    methods = [DyCoke(), Uncompressed()]
    options = GenerationOptions(max_tokens=8)
    found = inspect_question(session, f"{HOSTILE}.mp4", "What happens?", methods, options)
    first, second = found.methods
    hostile = replace(first.trace.steps[1], text=HOSTILE)
    trace = replace(first.trace, steps=(first.trace.steps[0], hostile, *first.trace.steps[2:]))
    first = replace(first, trace=trace, warnings=("it is damaged", HOSTILE))
    found = replace(found, question=HOSTILE, methods=(first, second))
    return {"inspection": to_dict(found), "pictures": as_uris(pictures(session, 160))}


def opened(browser: Any, text: str, folder: Path, **settings: Any) -> Any:
    """The page, opened from disk without a network."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")
    return browsers.opened(
        browser, file.as_uri(), lambda url: url == file.as_uri(), offline=True, **settings
    )


def test_an_answer_is_stepped_through_by_keyboard(
    browser: Any, data: dict[str, Any], tmp_path: Path
) -> None:
    shown = opened(browser, page(data), tmp_path)
    for method in data["inspection"]["methods"]:
        assert all(set(step) >= {"active", "evicted"} for step in method["trace"]["steps"])
    steps_by_keyboard(shown, data["inspection"])
    pressed = shown.locator(".answer button[aria-pressed=true]")
    assert pressed.count() == 2
    shown.keyboard.press("Home")
    assert "Token 1 of" in shown.locator("article .step").first.text_content()
    shown.keyboard.press("Escape")
    assert pressed.count() == 0


@pytest.mark.parametrize("text", [*HOSTILES, TURNED])
def test_whatever_a_text_says_the_page_works(
    browser: Any, data: dict[str, Any], tmp_path: Path, text: str
) -> None:
    """Each text of the document is that one: names, question, answers, words, titles."""
    hostile = {**data, "inspection": everywhere(data["inspection"], text)}
    shown = opened(browser, page(hostile), tmp_path)
    is_only_text(shown)
    steps_by_keyboard(shown, hostile["inspection"])
    numbers_are_of(shown, hostile["inspection"])


def test_a_name_turns_nothing_beside_it(browser: Any, data: dict[str, Any], tmp_path: Path) -> None:
    inspection = {**data["inspection"], "video": TURNED}
    shown = opened(browser, page({**data, "inspection": inspection}), tmp_path)
    about = shown.locator("#about").text_content()
    assert about.startswith(r"clip \u202e4pm.evol\u2066\u200f · mini")


def test_long_texts_and_long_answers_leave_a_page(
    browser: Any, data: dict[str, Any], tmp_path: Path
) -> None:
    """A megabyte of each; and more numbers than a function takes as arguments."""
    whole = data["inspection"]
    first, second = whole["methods"]
    steps = first["trace"]["steps"]
    longer = {**first, "trace": {**first["trace"], "steps": steps[:1] + steps[-1:] * 25_000}}
    large = {**whole, "question": "many words " * 100_000, "video": "x" * 10**6}
    shown = opened(browser, page({**data, "inspection": large}), tmp_path)
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert shown.locator("article").first.bounding_box()["y"] < 900
    steps_by_keyboard(shown, large)
    shown = opened(
        browser, page({**data, "inspection": {**whole, "methods": [longer, second]}}), tmp_path
    )
    shown.keyboard.press("End")
    assert "Token 25001 of 25001" in shown.locator("article .step").first.text_content()


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
