"""The server's own page in a real browser: a video is asked about, and what happened is shown."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests import browser as browsers
from tests.browser import (
    HOSTILES,
    TURNED,
    browser,
    is_only_text,
    numbers_are_of,
    steps_by_keyboard,
)
from tests.inspect.test_page import HOSTILE
from tests.server.pretended import BODY_LIMIT, Running, body_of, running
from tests.server.test_page import ROOT, address, ask_cold
from tests.video.clips import coded_picture, number_in
from tests.waiting import until

__all__ = ["address", "browser"]  # fixtures

pytestmark = [pytest.mark.extended, pytest.mark.slow]

QUESTION = "What happens in the video?"
PATIENCE_MS = 120_000


def opened(browser: Any, address: str, **settings: Any) -> Any:
    shown = browsers.opened(
        browser, f"{address}/", lambda url: url in (f"{address}/", f"{address}/inspect"), **settings
    )
    shown.set_default_timeout(PATIENCE_MS)
    return shown


def choose(shown: Any, file: Path | list[Path] | dict[str, Any], question: str = QUESTION) -> None:
    shown.locator("#file").set_input_files(file)
    shown.locator("#question").fill(question)


def status(shown: Any) -> str:
    shown.locator("#status.failed").wait_for()
    return str(shown.locator("#status").text_content())


def last_event(body: str) -> dict[str, Any]:
    *_, event, done = [part for part in body.split("\n\n") if part.startswith("data: ")]
    assert done == "data: [DONE]"
    return dict(json.loads(event.removeprefix("data: ")))


def test_a_video_is_asked_about_and_the_answer_inspected(browser: Any, address: str) -> None:
    shown = opened(browser, address)
    choose(shown, ROOT / "sample_videos" / "turn.mp4")
    shown.locator("#method").fill("dycoke-plus:retain=0.3")
    shown.locator("#frames").fill("6")
    with shown.expect_request("**/inspect") as request:
        shown.locator("#question").press("Enter")
        shown.locator("#result article .answer:not(:empty)").first.wait_for()
    shown.locator("#numbers td").first.wait_for(state="attached")
    # Asked again: a browser keeps no body that a page read as a stream.
    asked = request.value
    reply = shown.request.post(asked.url, data=asked.post_data, headers=asked.headers)
    inspection = last_event(reply.text())["inspection"]
    # The keys step at once: nobody has to leave the field first.
    steps_by_keyboard(shown, inspection)
    numbers_are_of(shown, inspection)
    assert shown.locator("#status").text_content() == ""
    assert shown.locator("#result > .about").text_content().startswith("turn.mp4 · mini")
    for spec, method in zip(("dycoke-plus:retain=0.3", "none"), inspection["methods"], strict=True):
        cold = ask_cold("sample_videos/turn.mp4", QUESTION, "--method", spec, "--frames", "6")
        assert (method["answer"], method["tokens"]) == (cold["answer"], cold["tokens"])
    # A second question takes the place of the first, and its keys do nothing twice.
    shown.locator("#against").fill("")
    shown.locator("#go").click()
    shown.locator("#result article").nth(1).wait_for(state="detached")
    shown.locator("#numbers td").first.wait_for(state="attached")
    shown.keyboard.press("ArrowRight")
    assert "Token 1 of" in shown.locator("article .step").first.text_content()


def test_it_says_what_the_bundled_model_knows_and_names_its_fields(
    browser: Any, address: str
) -> None:
    shown = opened(browser, address)
    about = shown.locator("#about").text_content()
    assert about.endswith(
        "This model only knows moving shapes: it can't answer about other videos."
    )
    for label in ("Question", "Answer by", "Compare with", "Frames"):
        assert shown.get_by_label(label, exact=True).count() == 1
    # What the names stand for is beside them, and follows what is typed.
    assert shown.locator("#of-method-chosen").text_content().startswith("DyCoke: merges tokens")
    assert shown.locator("#of-against").text_content() == "baseline: keeps everything"
    shown.locator("#against").fill("uniform_frames:retain=0.5")
    assert "evenly spaced whole frames" in shown.locator("#of-against").text_content()
    shown.locator("#against").fill("nonesuch")
    assert shown.locator("#of-against").text_content() == ""


def test_a_file_is_dropped(browser: Any, address: str) -> None:
    shown = opened(browser, address, refused=True)
    shown.evaluate("""() => {
      const dropped = new DataTransfer();
      dropped.items.add(new File(["no video"], "notes.mp4"));
      document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true}));
    }""")
    assert shown.locator("#chosen").text_content() == "notes.mp4 (0 kB)"
    shown.locator("#question").fill(QUESTION)
    shown.locator("#go").click()
    assert status(shown) == "The video is a text file, not a video: name a video file."


def test_pictures_are_the_frames_of_a_video(browser: Any, address: str, tmp_path: Path) -> None:
    shown = opened(browser, address)
    for number in (0, 1, 10, 9):
        Image.fromarray(coded_picture(number)).save(tmp_path / f"{number}.png")
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    choose(shown, [*tmp_path.iterdir()])
    shown.locator("#go").click()
    assert status(shown) == "Choose one video, or pictures, which are the frames of one."
    choose(shown, [*tmp_path.glob("*.png")])
    assert shown.locator("#chosen").text_content().startswith("0.png and 3 more (")
    shown.locator("#against").fill("")
    with shown.expect_request("**/inspect") as request:
        shown.locator("#go").click()
        shown.locator("#numbers td").first.wait_for(state="attached")
    [part, _] = request.value.post_data_json["messages"][0]["content"]
    pictures = part["video_url"]["url"].removeprefix("data:video/jpeg;base64,").split(",")
    seen = [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in pictures]
    assert [number_in(one) for one in seen] == [0, 1, 9, 10]
    assert shown.locator("#result > .about").text_content().startswith("0.png and 3 more · mini")
    assert not shown.locator("#status").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: Any, address: str, scheme: str) -> None:
    settings = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    shown = opened(browser, address, **settings)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360
    choose(shown, ROOT / "sample_videos" / "turn.mp4")
    shown.locator("#go").click()
    shown.locator("#numbers td").first.wait_for(state="attached")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_text_is_only_text(browser: Any, address: str) -> None:
    shown = opened(browser, address)
    events = [
        {"method": 0, "text": HOSTILE},
        {"error": {"message": HOSTILE}},
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    stream = {"status": 200, "content_type": "text/event-stream", "body": body}
    shown.route("**/inspect", lambda route: route.fulfill(**stream))
    choose(shown, {"name": HOSTILE, "mimeType": "video/mp4", "buffer": b"AAAA"}, HOSTILE)
    shown.locator("#method").fill(HOSTILE)
    shown.locator("#go").click()
    assert status(shown).startswith(HOSTILE)
    assert shown.locator("#result .answer").first.text_content() == HOSTILE
    assert shown.locator("#result h2").first.text_content() == HOSTILE
    # Of a file's name some browsers keep what is behind the last slash alone.
    name = HOSTILE.rpartition("/")[2].replace("\u2028", r"\u2028")
    assert name in shown.locator("#chosen").text_content()
    assert shown.locator("img").count() == 0
    assert shown.title() == "dycoke serve"


def answering(**reply: Any) -> Callable[[Any], None]:
    return lambda route: route.fulfill(**reply)


@pytest.mark.parametrize("text", [*HOSTILES, TURNED, "x" * 10**6])
def test_whatever_is_asked_and_answered_the_page_works(
    browser: Any, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    with running(monkeypatch) as server:
        shown = opened(browser, at(server), refused=True)
        reply = [{"method": 0, "text": text}, {"method": 1, "text": text}]
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in reply)
        error = json.dumps({"error": {"message": f"no: {text}"}})
        for stream in (
            {"status": 200, "content_type": "text/event-stream", "body": body},
            {"status": 400, "content_type": "application/json", "body": error},
        ):
            shown.route("**/inspect", answering(**stream))
            choose(shown, _file(f"{text[:200]}.mp4", 9), f"{text}?")
            for field in ("#method", "#against"):
                shown.locator(field).fill(f"{text}!")
            shown.locator("#go").click()
            shown.locator("#go:enabled").wait_for()
            is_only_text(shown)
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert shown.locator("#result .answer").count() == 2
        assert shown.locator("#go").bounding_box()["y"] < 2000
        assert status(shown).startswith("No: ")


def test_a_name_turns_nothing_beside_it(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch) as server:
        shown = opened(browser, at(server))
        choose(shown, _file(TURNED, 9))
        named = shown.locator("#chosen").text_content()
        assert named == r"clip \u202e4pm.evol\u2066\u200f (0 kB)"
        shown.locator("#file").set_input_files([_file(f"{n}{TURNED}", 9) for n in (1, 2)])
        shown.locator("#go").click()
        assert "\u202e" not in status(shown)


def at(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_what_is_missing_is_said_before_anything_is_sent(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(monkeypatch, key="secret") as server:
        shown = opened(browser, at(server))
        go = shown.locator("#go")
        go.click()
        assert status(shown) == "Choose a video first."
        choose(shown, _file("large.mp4", BODY_LIMIT), "")
        go.click()
        assert status(shown) == "Large.mp4 is larger than the 0 MiB that this server takes."
        choose(shown, _file("small.mp4", 9), "")
        go.click()
        assert status(shown) == "Type a question."
        choose(shown, _file("small.mp4", 9), "What?")
        go.click()
        assert status(shown) == "This server needs its API key."


def test_a_wrong_key_and_a_full_queue(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(monkeypatch, key="secret", queue=1) as server, ThreadPoolExecutor() as pool:
        shown = opened(browser, at(server), refused=True)
        assert "mini" not in shown.content()
        choose(shown, _file("small.mp4", 9))
        shown.locator("#key").fill("guess")
        shown.locator("#go").click()
        assert status(shown) == "The API key is missing or wrong."
        server.pretended.gate.clear()
        body, bearer = body_of("What?"), {"Authorization": "Bearer secret"}
        waiting = pool.submit(server.request, "POST", "/v1/chat/completions", body, **bearer)
        until(lambda: server.service.admission.active)
        shown.locator("#key").fill("secret")
        shown.locator("#go").click()
        shown.get_by_text("1 requests wait already; come back in 1 s.").wait_for()
        server.pretended.gate.set()
        assert waiting.result()[0] == 200
        # It is kept nowhere.
        assert shown.evaluate("localStorage.length + sessionStorage.length") == 0
        assert shown.context.cookies() == []


def _file(name: str, nbytes: int) -> dict[str, Any]:
    return {"name": name, "mimeType": "video/mp4", "buffer": b"A" * nbytes}
