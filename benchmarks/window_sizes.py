"""What is answered about videos of 2 to 60 minutes, read in windows of 16, 32 and 64 frames.

`python -m benchmarks.window_sizes` asks about the videos of `shapes-long` (test split), at one
frame per second, as `dycoke ask --method dycoke-plus --max-tokens 512` does. Its flags are those of
`long_answers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.long_answers import Measurement, answers, run, windowed_session
from benchmarks.shapes_long_rules import TOKENS
from benchmarks.shapes_long_tables import SUFFIX, answers_by_length, footer, read_measured
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.binding import bind
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import FPS, ShapesLong
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.video import Sampling, read
from dycoke_cli.video.frame_windows import WINDOW

KIND = "window-sizes"
SIZES = (16, 32, 64)
METHOD = "dycoke-plus"


def row_of(size: int) -> str:
    """The name of a row."""
    return f"{size} frames"


def measured(
    loaded: LoadedModel, dataset: ShapesLong, items: Sequence[Item]
) -> Iterator[dict[str, Any]]:
    """The lines of a video: the answers by each size of windows."""
    method = bind(create(METHOD), loaded.traits.in_windows)
    video = read(dataset.file(items[0].video), Sampling(fps=FPS))
    for size in SIZES:
        session = windowed_session(loaded, method, video, size, max_tokens=TOKENS)
        yield from answers(row_of(size), session, items, method)


def tables(data: Path) -> dict[str, str]:
    """Rows by size, columns by length, of every model that was measured."""
    made = {}
    for file in sorted(data.glob(f"{KIND}-*{SUFFIX}")):
        one = read_measured(file, row_of(WINDOW))
        name = f"{KIND}-{one.header['name']}"
        made[name] = "\n".join([*answers_by_length(one), "", footer(one)])
    return made


MEASUREMENT = Measurement(KIND, measured, tables)

if __name__ == "__main__":
    run(MEASUREMENT, __doc__)
