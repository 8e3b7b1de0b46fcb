"""`dycoke inspect`: its answers, its page."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.harness import CLIP, ROOT, run_here
from tests.documents import valid
from tests.inspect.elements import read
from tests.pages import section

QUESTION = "What happens?"
SHORT = ("--frames", "4", "--max-tokens", "4", "--device", "cpu", "--dtype", "float32")


@pytest.mark.slow
def test_text_page_and_json_say_the_same(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = run_here("inspect", CLIP, QUESTION, *SHORT, "--model", "mini", "--out", page)
    assert run.code == 0, run.err
    found = run_here("inspect", CLIP, QUESTION, *SHORT, "--model", "mini", "--json").object
    valid(found, "inspect")
    shown = json.loads(read(page.read_text("utf-8")).texts["script", "application/json"])
    assert shown["inspection"] == found
    assert len(shown["pictures"]) == found["grid"]["frames"] == 4
    for each in found["methods"]:
        kept = len(each["trace"]["kept"])
        assert f"{each['title']}: {kept} of 64 visual tokens kept\n" in run.out
        assert f"\n{each['answer']}\n" in run.out
    assert "\x1b" not in run.out
    assert run.err.splitlines()[-1] == f"Written: {page}"


@pytest.mark.slow
def test_any_two_methods_and_one_alone() -> None:
    two = ("--method", "evs", "--against", "dycoke-plus:retain=0.5")
    found = run_here("inspect", CLIP, QUESTION, *SHORT, *two, "--json").object
    assert [each["method"]["name"] for each in found["methods"]] == [
        "evs",
        "dycoke-plus",
    ]
    alone = run_here("inspect", CLIP, QUESTION, *SHORT, "--method", "none", "--json").object
    assert len(alone["methods"]) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (
            ["--out", "page.txt"],
            2,
            "--out page.txt: name a file that ends in .html",
        ),
        (["--out", "nosuch/page.html"], 6, "there is no folder nosuch; make it first"),
        (["--against", "dycok"], 2, "dycok"),
    ],
)
def test_what_is_refused_before_anything_runs(arguments: list[str], code: int, said: str) -> None:
    run = run_here("inspect", CLIP, QUESTION, *arguments)
    assert (run.code, run.out) == (code, "")
    assert said in run.err


def test_what_cannot_be_read_is_an_object() -> None:
    run = run_here("inspect", "nosuch.mp4", QUESTION, "--json")
    assert run.code == 3
    assert valid(run.object, "inspect", "error")["question"] == QUESTION


PAGE = section("guide.md", "Inspect")
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.extended
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample_videos").symlink_to(ROOT / "sample_videos")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    redirected = words.index(">") if ">" in words else len(words)
    run = run_here(*words[1:redirected], "--device", "cpu")
    assert run.code == 0, run.err
    written = [word for word in words if Path(word).suffix in (".html", ".png")]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == written
    if redirected < len(words):
        assert json.loads(run.out)["schema"] == "dycoke.inspect/1"
