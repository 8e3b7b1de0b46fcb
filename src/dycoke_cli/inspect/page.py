"""Self-contained HTML page: the front end of this folder with embedded data.

The content security policy allows only its own script and style (by hash) and no requests. Data are
one block of JSON, which the script inserts as text, never as markup.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.unicode import to_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from dycoke_cli.inspect.inspection import Inspection

PICTURE_PX = 320
"""The longer side of a frame's picture."""
_SCRIPTS = ("page.js", "inspection.js", "report.js", "ask.js")
_QUALITY = 82
_PLACE = re.compile(r"@(POLICY|STYLE|SCRIPT|DATA)@")


def page(data: Mapping[str, Any], served: bool = False) -> str:
    """Render the page.

    Args:
        data: `inspection`, a `dycoke.inspect/1` object, and `pictures`, a data URI for each of its
            frames (see `data_of`); or `report`, a `dycoke.eval/1` object with its changes; or
            `server`, the values for the form of a server's page.
    """
    # `</script>` in a text would end the block; JSON accepts the escapes anywhere in a string.
    shown = to_json(dict(data)).replace("<", "\\u003c").replace(">", "\\u003e")
    parts = {"POLICY": policy(served), "STYLE": _style(), "SCRIPT": _script(), "DATA": shown}
    # One pass, so that a placeholder's name within the data isn't replaced.
    return _PLACE.sub(lambda place: parts[place[1]], _read("page.html"))


def policy(served: bool = False) -> str:
    """Content security policy of the page.

    Args: see `page`.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(_style())}'",
            f"script-src '{_digest(_script())}'",
            *(["connect-src 'self'"] if served else []),
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def data_of(inspection: Inspection, frames: Iterable[Image]) -> dict[str, Any]:
    """Data of an inspection's page."""
    return {"inspection": to_dict(inspection), "pictures": as_uris(frames)}


def as_uris(pictures: Iterable[Image]) -> list[str]:
    """Encode images as JPEG data URIs."""
    uris = []
    for picture in pictures:
        file = io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=_QUALITY)
        uris.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return uris


def _style() -> str:
    return _read("page.css")


def _script() -> str:
    return "\n\n".join(map(_read, _SCRIPTS))


def _read(name: str) -> str:
    return files("dycoke_cli.inspect").joinpath(name).read_text("utf-8").strip()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
