"""A self-contained HTML page: the front end of this folder, with its data.

It fetches nothing, runs no script but its own (by its hash), and takes no text for markup: data are
one block of JSON, which the script shows as text.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dycoke_cli.unicode import to_json

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURE_PX = 320
_QUALITY = 82
_PLACE = re.compile(r"@(POLICY|STYLE|SCRIPT|DATA)@")


def page(data: Mapping[str, Any]) -> str:
    """The page.

    Args:
        data: either `inspection`, a `dycoke.inspect/1` object, and `pictures`, a data URI for each
            of its frames; or `report`, a `dycoke.eval/1` object with its changes.
    """
    style, script = (_read(f"page.{kind}") for kind in ("css", "js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(style)}'",
            f"script-src '{_digest(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    # No text can end the block: to JSON these are letters like any other.
    shown = to_json(dict(data)).replace("<", "\\u003c").replace(">", "\\u003e")
    parts = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": shown}
    return _PLACE.sub(lambda place: parts[place[1]], _read("page.html"))


def as_uris(pictures: Iterable[Image]) -> list[str]:
    """Pictures as data URIs."""
    uris = []
    for picture in pictures:
        file = io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=_QUALITY)
        uris.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return uris


def _read(name: str) -> str:
    return files("dycoke_cli.inspect").joinpath(name).read_text("utf-8").strip()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
