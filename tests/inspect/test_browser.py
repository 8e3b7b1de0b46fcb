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

from dycoke_cli import DyCoke, Uncompressed, VideoSession
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.inspect.inspection import as_uris, inspect_question, page, pictures
from dycoke_cli.video.decoder import read
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import ROOT
from tests.families.sessions import bundled
from tests.inspect.test_page import HOSTILE

pytestmark = pytest.mark.extended


# Texts that want to be something else: markup, a script, an address, an attribute, a placeholder.
HOSTILES = (
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror='window.pwned=1'><svg/onload=window.pwned=1>",
    '" onmouseover="window.pwned=1" autofocus onfocus=\'window.pwned=1\' x="',
    "javascript:window.pwned=1",
    "</textarea></title></style></template><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "<!--<script>@SCRIPT@ @DATA@ @POLICY@ ]]>",
    "\u2028window.pwned=1//\u2029${window.pwned=1}{{window.pwned=1}}`",
    "__proto__",
    "\0\x1b]0;title\x07\x85\ufeff\udc80",
    "",
)
TURNED = "clip \u202e4pm.evol\u2066\u200f"
"""A name that a screen would show as "clip love.mp4"."""


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
    session = VideoSession(bundled(), clip)
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
    """The page, opened from disk without a network; what its console says fails the test."""
    file = folder / "page.html"
    file.write_text(text, encoding="utf-8")

    def check(url: str) -> None:
        assert url == file.as_uri() or url.startswith("data:"), url

    shown = browser.new_context(offline=True, **settings).new_page()
    shown.on("console", lambda message: pytest.fail(f"console: {message.text}"))
    shown.on("pageerror", lambda error: pytest.fail(f"error: {error}"))
    shown.on("request", lambda request: check(request.url))
    shown.goto(file.as_uri())
    return shown


def is_only_text(shown: Any) -> None:
    """Check that no text became an element, an attribute or a script of the page."""
    assert shown.evaluate("window.pwned") is None
    odd = "img, svg, iframe, a, object, embed, base, form[action], [style], [src]:not(img)"
    assert shown.locator(odd).count() == 0
    assert shown.locator("script").count() == 2
    names = "document.querySelectorAll('*').values().flatMap(one => one.getAttributeNames())"
    assert not [name for name in shown.evaluate(f"[...{names}]") if name.startswith("on")]


def everywhere(document: Any, text: str) -> Any:
    """A document with another text in place of each of its texts."""
    if isinstance(document, str):
        return text
    if isinstance(document, dict):
        return {key: everywhere(value, text) for key, value in document.items()}
    return [everywhere(one, text) for one in document] if isinstance(document, list) else document


def said(shown: Any, panel: int) -> dict[str, float]:
    """What a method's line of the token that is shown says."""
    found = shown.locator("article .step").nth(panel).evaluate("node => ({...node.dataset})")
    return {name: float(value) for name, value in found.items()}


def steps_by_keyboard(shown: Any, inspection: dict[str, Any]) -> None:
    """Step through the answers, and compare each step with the document's."""
    methods = inspection["methods"]
    for number in range(max(len(method["trace"]["steps"]) for method in methods)):
        shown.keyboard.press("ArrowRight")
        for panel, method in enumerate(methods):
            steps = method["trace"]["steps"]
            step = steps[min(number, len(steps) - 1)]
            assert said(shown, panel) == {
                "active": len(step["active"]),
                "evicted": len(step["evicted"]),
                "recalled": len(step["recalled"]),
                "attention": pytest.approx(sum(step["attention"])),
            }


def numbers_are_of(shown: Any, inspection: dict[str, Any]) -> None:
    """Compare the table with the document."""
    rows = shown.locator("#numbers tbody tr").evaluate_all(
        "rows => rows.map(row => [row.cells[0].textContent, ...[...row.cells].slice(1)"
        ".map(cell => Number(cell.dataset.value))])"
    )
    methods = inspection["methods"]
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
