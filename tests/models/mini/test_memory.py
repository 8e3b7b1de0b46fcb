"""The language model's lesson: what each visual token should know by then."""

from __future__ import annotations

import numpy as np

from dycoke_cli.models.mini.architecture import build_model, build_processor
from dycoke_cli.models.mini.batches import Shape, make_batch
from dycoke_cli.models.mini.memory import LAYER, SIZES, what_happened
from dycoke_cli.models.mini.objective import answer_logits, embed, visual_tokens
from dycoke_cli.models.mini.tokenizer import Codec, build_tokenizer
from dycoke_cli.models.mini.world import ACTIONS, COLOURS, SHAPES, Script, Thing, draw_script

TIMES = np.array([0.0, 0.5, 1.0])


def thing(**changes) -> Thing:
    base = {
        "shape": "star", "colour": "red", "radius": 0.15, "start": (0, 0), "end": (0, 0),
        "offset": (0.06, 0.06), "action": "stay", "begin": 0.4, "finish": 0.4,
    }  # fmt: skip
    return Thing(**(base | changes))


def facts(**changes) -> list[list[tuple[int, ...]]]:
    """For each frame the different facts that its tokens hold, nothing left out."""
    known = what_happened(Script("black", (thing(**changes),)), TIMES)
    return [sorted({tuple(t) for t in frame if t[0]}) for frame in known.tolist()]


def row(action: str, place: int = 1) -> tuple[int, ...]:
    return (SHAPES.index("star") + 1, COLOURS.index("red") + 1, place, ACTIONS.index(action) + 1)


def test_what_happened_counts_from_the_frame_that_shows_it():
    assert facts(action="stay") == [[row("stay")]] * 3
    assert facts(action="turn", new_colour="blue") == [[row("stay")], [row("turn")], [row("turn")]]
    assert facts(action="vanish") == [[row("stay")], [row("vanish")], [row("vanish")]]
    assert facts(action="appear") == [[], [row("appear")], [row("appear")]]
    moved = facts(action="right", end=(2, 0), begin=0.1, finish=0.9)
    assert moved == [[row("stay")], [row("right")], [row("right")]]


def test_the_place_is_the_first_one_wherever_the_thing_is_now():
    known = what_happened(
        Script("black", (thing(action="right", end=(2, 0), begin=0.1, finish=0.9),)), TIMES
    )
    assert np.nonzero(known[0, :, 0])[0].tolist() == [0, 1, 4, 5]
    assert (np.nonzero(known[2, :, 0])[0] % 4 >= 2).all()
    assert set(known[2, :, 2]) == {0, 1}


def test_the_future_is_never_told():
    for i in range(40):
        script = draw_script(i, "train")
        whole = what_happened(script, np.linspace(0, 1, 8))
        part = what_happened(script, np.linspace(0, 1, 8)[:5])
        assert (whole[:5] == part).all()
        assert (whole.max((0, 1)) < SIZES).all()


def test_it_is_read_where_it_says():
    tokenizer = build_tokenizer()
    codec, model = Codec(tokenizer), build_model(tokenizer)
    processor = build_processor(tokenizer).video_processor
    batch = make_batch([1], Shape(videos=2, frames=2, text=0), "train", codec, processor)
    inputs, prefix = embed(model, batch, codec)
    logits, middle = answer_logits(model, batch, inputs, prefix)
    assert len(logits) == 0
    states = model.model.language_model(inputs_embeds=inputs, output_hidden_states=True)
    expected = states.hidden_states[LAYER]
    np.testing.assert_allclose(middle.detach(), expected.detach(), atol=1e-5)
    assert visual_tokens(middle, prefix, codec).shape == (2 * 2 * 16, 256)
