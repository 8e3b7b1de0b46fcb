"""Clients of other projects against a real `dycoke serve`; without the package, a test is skipped.

`pip install --target FOLDER langchain-openai llm`, with FOLDER at the end of PYTHONPATH, has them.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli import Sampling
from dycoke_cli import read as read_video
from tests.cli.harness import run_here
from tests.server.real import MINI, serving
from tests.server.test_bodies_of_clients import ASKED, FORMS
from tests.server.test_served import MOVE, SURE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.extended,
    pytest.mark.skipif(sys.platform == "win32", reason="no signals"),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    flags = ("--media-root", str(MOVE.parent))
    with serving(tmp_path_factory.mktemp("serve"), (*MINI, *flags)) as (url, _):
        yield url


def pictures(count: int) -> list[str]:
    """Frames of a video, as the urls of pictures."""
    from PIL import Image

    urls = []
    for frame in read_video(str(MOVE), Sampling(frames=count)).frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        urls.append(f"data:image/png;base64,{b64encode(file.getvalue()).decode()}")
    return urls


def asked(address: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply to a body, whose status is 200."""
    sent = urllib.request.Request(
        f"{address}/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(sent) as reply:
        found: dict[str, Any] = json.loads(reply.read())
    return found


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], str]:
    """Frames of a video, and the answer of `dycoke ask` about them as a folder of pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("frames")
    for number, frame in enumerate(read_video(str(MOVE), Sampling(frames=16)).frames):
        Image.fromarray(frame).save(folder / f"{number:02}.jpg", quality=95)
    command = ("ask", folder, ASKED, "--frames", "16", "--no-server", "--quiet")
    return [path.read_bytes() for path in sorted(folder.iterdir())], run_here(*command).out.strip()


@pytest.mark.parametrize("form", FORMS)
def test_a_body_of_a_client_has_the_answer_of_a_command(
    address: str, jpegs: tuple[list[bytes], str], form: str
) -> None:
    contents, own = jpegs
    reply = asked(address, FORMS[form](contents))
    assert reply["choices"][0]["message"]["content"] == own
    assert reply["usage"]["dycoke"]["frames"] == len(contents)


def test_a_captioner_that_names_a_file(address: str) -> None:
    part = {"type": "video_url", "video_url": {"url": MOVE.as_uri()}}
    body = {
        "model": "mini",
        "messages": [{"role": "user", "content": [part, {"type": "text", "text": ASKED}]}],
        "extra_body": None,
        "mm_processor_kwargs": {"use_audio_in_video": True, "fps": 2},
        "chat_template_kwargs": {"enable_thinking": False},
        "temperature": 0.0,
    }
    reply = asked(address, body)
    own = run_here("ask", MOVE, ASKED, "--fps", "2", "--no-server", "--quiet").out.strip()
    assert reply["choices"][0]["message"]["content"] == own
    [warning] = reply["usage"]["dycoke"]["warnings"]
    assert "use_audio_in_video, chat_template_kwargs.enable_thinking" in warning


def langchain(address: str, **more: Any) -> Any:
    reason = "the package langchain-openai isn't installed"
    module = pytest.importorskip("langchain_openai", reason=reason)
    return module.ChatOpenAI(base_url=address, api_key="none", model="mini", max_retries=0, **more)


def message(text: str, urls: list[str]) -> list[Any]:
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *shown]}]


def test_langchain_asks_about_pictures(address: str) -> None:
    """The frames of a video, whole and streamed: the answer is that of the video."""
    chat, asked = langchain(address), message(SURE, pictures(32))
    own = run_here("ask", MOVE, SURE, "--no-server", "--quiet").out.strip()
    whole = chat.invoke(asked)
    assert whole.content.strip() == own
    assert whole.usage_metadata["output_tokens"] > 0
    assert "".join(piece.content for piece in chat.stream(asked)).strip() == own


def test_langchain_is_told_what_the_model_cannot_do(address: str) -> None:
    """JSON it writes; that it has no tools, it says in a sentence."""
    import openai
    from pydantic import BaseModel

    class Star(BaseModel):
        """A star."""

        colour: str

    chat = langchain(address)
    assert chat.with_structured_output(Star).invoke("Which colour?").colour
    with pytest.raises(openai.BadRequestError, match="tools isn't supported"):
        chat.bind_tools([Star]).invoke("Which colour?")


def test_llm_asks_in_words(address: str, tmp_path: Path) -> None:
    """As docs/serve.md has it: an entry of its file of models."""
    pytest.importorskip("llm", reason="the package llm isn't installed")
    (tmp_path / "extra-openai-models.yaml").write_text(
        f'- model_id: dycoke\n  model_name: mini\n  api_base: "{address}"\n'
    )
    question = "What colour is the star?"
    environment = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    for more in ([], ["--no-stream"]):
        done = subprocess.run(
            [sys.executable, "-m", "llm", "-m", "dycoke", *more, question],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()
