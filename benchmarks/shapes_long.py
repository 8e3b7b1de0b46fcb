"""What is left of a needle, and what is answered, in videos of 2 to 60 minutes at equal tokens.

`python -m benchmarks.shapes_long` reads the videos of `shapes-long` (test split) at one frame per
second, keeps 512 tokens of each by several rules, and writes which of the needle's tokens are kept
and what is answered into docs/data. Its flags are those of `long_answers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from benchmarks.long_answers import Measurement, answers, run
from benchmarks.shapes_long_rules import ASKED, RULES, SAMPLED, TOKENS, Chosen, shows_card
from benchmarks.shapes_long_tables import tables
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import FPS, ShapesLong
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.video import Sampling, read


def measured(
    loaded: LoadedModel, dataset: ShapesLong, items: Sequence[Item]
) -> Iterator[dict[str, Any]]:
    """The lines of a video: of each rule what is kept of the card, of each row the answers."""
    video = items[0].video
    script, rendered = dataset.script(video), dataset.file(video)
    whole = VideoSession(loaded, read(rendered, Sampling(fps=FPS)))
    frames, per_frame = whole.video.frames, whole.video.tokens_per_frame
    features = _features(whole, items[0].question)
    card, shown = shows_card(script, frames, round(per_frame**0.5)), TOKENS // per_frame
    chosen = {name: rule(features, TOKENS) for name, rule in RULES.items()}
    for name, selection in chosen.items():
        kept = int(card.flatten()[selection.kept].sum())
        yield {"rule": name, "card": kept, "of": int(card.sum())}
    for row, (rule, positions) in ASKED.items():
        session, method = whole, Chosen(rule=rule, selection=chosen[rule], positions=positions)
        if rule in SAMPLED:
            start = script.seconds - shown / FPS if rule == "recent" else None
            session = VideoSession(loaded, read(rendered, Sampling(frames=shown, start_s=start)))
        yield from answers(row, session, items, Method() if rule in SAMPLED else method)


def _features(session: VideoSession, question: str) -> torch.Tensor:
    """The visual tokens of a video, as the session encodes it once: [F, N, D]."""
    some = Chosen(rule="first", selection=Selection(torch.arange(TOKENS)))
    first = bind(some, session.loaded.traits)
    session.encode(Stopwatch(session.loaded.input_device), first)
    (encoded,) = session.prompt(question, (), first, GenerationOptions())().videos
    frames, per_frame = session.video.frames, session.video.tokens_per_frame
    return encoded.embeddings[: frames * per_frame].view(frames, per_frame, -1)


MEASUREMENT = Measurement("long", measured, tables)

if __name__ == "__main__":
    run(MEASUREMENT, __doc__)
