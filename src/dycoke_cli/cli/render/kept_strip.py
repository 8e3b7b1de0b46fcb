"""Terminal view of the kept visual tokens: a small map per frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

if TYPE_CHECKING:
    from PIL.Image import Image

    from dycoke_cli.inspect.inspection import TokenGrid

_COLUMNS, _ROWS = 10, 8
"""Maximum cells of a map; one row of text shows two rows of cells (half-block characters)."""
_APART = 2
_GLYPHS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): "·"}


class KeptStrip:
    """Rich renderable with a map per frame, in the frame's colours if the terminal has colours.

    If the grid is larger than a map, a cell is shown as kept if half of its tokens are.
    """

    def __init__(self, grid: TokenGrid, kept: Sequence[int], frames: Sequence[Image]) -> None:
        self._grid, self._kept, self._frames = grid, set(kept), frames
        self._columns = min(grid.columns, _COLUMNS)
        self._rows = min(grid.rows, _ROWS)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render rows of maps, each with its time and token count below."""
        width = max(self._columns, 7)  # room for the label, such as "196/196"
        beside = max(1, (options.max_width + _APART) // (width + _APART))
        coloured = console.color_system is not None
        maps = [self._map(frame, width, coloured) for frame in range(self._grid.frames)]
        for start in range(0, len(maps), beside):
            for lines in zip(*maps[start : start + beside], strict=True):
                yield Text(" " * _APART).join(lines)

    def _map(self, frame: int, width: int, coloured: bool) -> list[Text]:
        grid = self._grid
        per_frame = grid.rows * grid.columns
        colours = self._frames[frame].convert("RGB").resize((self._columns, self._rows))
        cells = [
            [self._is_kept(frame, row, column) for column in range(self._columns)]
            for row in range(self._rows)
        ]
        lines = []
        for upper in range(0, self._rows, 2):
            line = Text()
            for column in range(self._columns):
                both = [row < self._rows and cells[row][column] for row in (upper, upper + 1)]
                glyph = _GLYPHS[both[0], both[1]]
                style = "dim" if not any(both) else ""
                if coloured and any(both):
                    shades = [
                        "#{:02x}{:02x}{:02x}".format(*_pixel(colours, column, row))
                        for row in (upper, upper + 1)
                        if row < self._rows
                    ]
                    style = shades[0] if both[0] else shades[1]
                    if all(both):  # upper half in the foreground colour, lower in the background's
                        glyph, style = "▀", f"{shades[0]} on {shades[1]}"
                line.append(glyph, style)
            line.append(" " * (width - self._columns))
            lines.append(line)
        count = sum(frame * per_frame <= token < (frame + 1) * per_frame for token in self._kept)
        for label in (f"{grid.timestamps_s[frame]:.1f} s", f"{count}/{per_frame}"):
            lines.append(Text(label.ljust(width)[:width], "dim"))
        return lines

    def _is_kept(self, frame: int, row: int, column: int) -> bool:
        """Whether at least half of the tokens of a cell are kept."""
        grid = self._grid
        tokens = [
            (frame * grid.rows + y) * grid.columns + x
            for y in _share(row, self._rows, grid.rows)
            for x in _share(column, self._columns, grid.columns)
        ]
        return 2 * sum(token in self._kept for token in tokens) >= len(tokens)


def _share(cell: int, cells: int, tokens: int) -> range:
    return range(cell * tokens // cells, (cell + 1) * tokens // cells)


def _pixel(picture: Image, column: int, row: int) -> tuple[int, int, int]:
    red, green, blue = picture.getpixel((column, row))  # type: ignore[misc] # of RGB
    return red, green, blue
