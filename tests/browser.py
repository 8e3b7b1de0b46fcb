"""A real browser: Chromium without a window, in which an error of a page fails the test.

Needs the package playwright, and a Chromium: its own (`playwright install chromium`) or the
system's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest


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


def opened(
    browser: Any,
    address: str,
    allowed: Callable[[str], bool],
    *,
    refused: bool = False,
    **settings: Any,
) -> Any:
    """A page; what its console says fails the test, and so does a request that isn't allowed."""

    def tell(text: str) -> None:
        if not (refused and text.startswith("Failed to load resource")):
            pytest.fail(f"console: {text}")

    def check(url: str) -> None:
        assert allowed(url) or url.startswith("data:"), url

    shown = browser.new_context(**settings).new_page()
    shown.on("console", lambda message: tell(message.text))
    shown.on("pageerror", lambda error: pytest.fail(f"error: {error}"))
    shown.on("request", lambda request: check(request.url))
    shown.goto(address)
    return shown


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
