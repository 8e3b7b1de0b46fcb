"""Draws the README's pictures: commands that ran in a real terminal, as they looked there.

`python -m benchmarks.pictures` runs all of them and writes docs/pictures/NAME.svg, and inspect.png,
which is `dycoke inspect --out` in a browser (Chromium).
"""

from __future__ import annotations

import codecs
import fcntl
import io
import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

from benchmarks.page import ROOT

FOLDER = ROOT / "docs" / "pictures"
COLUMNS, LINES = 96, 60
_CONTROL = re.compile(r"\r\n|[\r\n]|\x1b\[\??[0-9;]*[A-Za-z]")
_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)


# Of the environment: where programs are, and how many threads they may use.
_KEPT = ("PATH", "HOME", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Picture:
    """A command, and what is shown of it."""

    name: str  # of the file
    arguments: tuple[str, ...]  # of `dycoke`
    # a text of the progress: halfway through, the screen is shown as it was, and below it what the
    # end changed
    while_it_runs: str | None = None


PICTURES = (
    Picture("ask", ("ask", "sample_videos/move.mp4", "What happens in the video?")),
    Picture("compare", ("ask", "sample_videos/turn.mp4", "What happens last?", "--compare")),
    Picture(
        "eval",
        ("eval", "shapes", "--split", "validation", "--limit", "10", "--methods", "none,dycoke"),
    ),
    Picture(
        "batch",
        (
            "batch",
            "sample_videos",
            "What happens?",
            "-q",
            "What is shown?",
            "--out",
            "results.jsonl",
        ),
        while_it_runs=" left",
    ),
)


DRAWN = (
    *("inspect", "sample_videos/turn.mp4", "What happens in the video?", "--frames", "8"),
    *("--out", "inspect.html"),
)
"""The command whose page is shown."""
SIZE = 1200, 970
"""Of the browser's window, in pixels."""


class Screen:
    """The lines of a terminal, with their colours: as much of one as Rich makes use of."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0

    def feed(self, output: str) -> None:
        """Take what a program wrote; no control sequence may be cut in two."""
        at = 0
        for control in _CONTROL.finditer(output):
            self._write(output[at : control.start()])
            self._obey(control[0])
            at = control.end()
        self._write(output[at:])

    def _write(self, text: str) -> None:
        self.lines[self._row] += text

    def _obey(self, control: str) -> None:
        if control in ("\n", "\r\n"):
            self._row += 1
            if self._row == len(self.lines):
                self.lines.append("")
        elif control.endswith("A"):
            self._row = max(0, self._row - int(control[2:-1] or 1))
        elif control.endswith("K"):
            self.lines[self._row] = ""
        elif control.endswith("m"):
            self._write(control)

    def text(self) -> Text:
        """What stands there, without empty lines at its end."""
        return Text.from_ansi("\n".join(self.lines).rstrip())


def run(command: list[str], folder: Path, seen: Callable[[Screen], None]) -> Screen:
    """Run a command in a terminal of its own."""
    screen, decoder = Screen(), codecs.getincrementaldecoder("utf-8")()
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "TERM": "xterm-256color",
        "PYTHONPATH": str(ROOT / "src"),
        "DYCOKE_CACHE": "cache",
    }
    process = subprocess.Popen(
        command, cwd=folder, stdin=its, stdout=its, stderr=its, env=environment
    )
    os.close(its)
    rest = ""
    while content := _read(ours):
        rest += decoder.decode(content)
        # A sequence that isn't whole yet waits for its end.
        whole = rest.rfind("\x1b") if re.search(r"\x1b(\[\??[0-9;]*)?$|\r$", rest) else len(rest)
        whole = len(rest) - 1 if whole < 0 else whole
        screen.feed(rest[:whole])
        rest = rest[whole:]
        seen(screen)
    screen.feed(rest)
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{shlex.join(command)} failed:\n{screen.text().plain}")
    return screen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # all of its programs have ended
        return b""


def draw(picture: Picture, folder: Path) -> str:
    """Run the command of a picture; return it as SVG."""
    while_it_ran: list[Text] = []

    def seen(screen: Screen) -> None:
        if picture.while_it_runs is not None and picture.while_it_runs in screen.text().plain:
            while_it_ran.append(screen.text())

    command = [sys.executable, "-m", "dycoke_cli", *picture.arguments]
    parts = [run(command, folder, seen).text()]
    if while_it_ran:
        halfway = while_it_ran[len(while_it_ran) // 2]
        parts = [halfway, *_new(halfway, parts[0])]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ dycoke " + shlex.join(picture.arguments), style="bold"))
    for text in parts:
        console.print(text, soft_wrap=True)
    svg = console.export_svg(title="", theme=SVG_EXPORT_THEME, unique_id=picture.name)
    # A page that shows the picture shouldn't fetch fonts from somewhere else.
    return _FONTS.sub("", svg)


def _new(before: Text, after: Text) -> list[Text]:
    """The lines of a screen from the first that another one hasn't."""
    lines, old = after.split(), before.split()
    same = 0
    while same < min(len(lines), len(old)) and lines[same].plain == old[same].plain:
        same += 1
    return list(lines[same:])


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Of {', '.join([*(p.name for p in PICTURES), DRAWN[0]])}."),
    ] = None,
) -> None:
    """Draw the pictures; without names all of them."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "sample_videos").symlink_to(ROOT / "sample_videos")
        for picture in PICTURES:
            if not names or picture.name in names:
                (FOLDER / f"{picture.name}.svg").write_text(draw(picture, folder), encoding="utf-8")
        if not names or DRAWN[0] in names:
            run([sys.executable, "-m", "dycoke_cli", *DRAWN], folder, lambda _: None)
            browser = shutil.which("chromium") or "google-chrome"
            size = f"--window-size={','.join(map(str, SIZE))}"
            shot = f"--screenshot={FOLDER / 'inspect.png'}"
            command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", size, shot]
            subprocess.run([*command, f"file://{folder / DRAWN[-1]}"], check=True)


if __name__ == "__main__":
    typer.run(main)
