"""The page of an inspection."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from dycoke_cli.inspect.inspection import page
from tests.inspect.elements import read

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!--<script>@SCRIPT@ \u2028 &amp;"


def test_hostile_text_stays_in_the_data() -> None:
    data = {"inspection": {"question": HOSTILE, "methods": [{"answer": HOSTILE}]}}
    elements = read(page(data))
    assert elements.names == read(page({})).names
    assert "img" not in elements.names
    assert json.loads(elements.texts["script", "application/json"]) == data


def test_nothing_is_fetched_and_nothing_runs_but_the_page() -> None:
    text = page({"inspection": HOSTILE})
    elements = read(text)
    assert elements.addresses == ["data:,"]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for kind, source in ((("script", None), "script-src"), (("style", None), "style-src")):
        digest = hashlib.sha256(elements.texts[kind].encode()).digest()
        assert rules[source] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert not re.search(r"https?://|\burl\(|@import|innerHTML|eval\(", text)
