"""Clients of other projects against a real `dycoke serve`; without the package, a test is skipped.

`pip install --target FOLDER langchain-openai llm`, with FOLDER at the end of PYTHONPATH, has them.
"""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest

from dycoke_cli import Sampling
from dycoke_cli import read as read_video
from tests.cli.harness import ROOT, run_here
from tests.server.real import MINI, serving

MOVE = ROOT / "sample_videos" / "move.mp4"
SURE = "What does the blue star do?"
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
