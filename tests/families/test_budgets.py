"""Each family × every method that takes a budget: the prompt is shorter by exactly that much.

The tokens that stay, and what is merged into them, are those that the method chooses of what the
stock model gives its decoder (that they are the right ones is tested in `tests/compression`, and
that the vision encoder's attention is, in `tests/engine/vision_tower/test_tower_attention.py`);
the reference is stock `generate()` on them.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

import dycoke_cli.engine.attach  # noqa: F401 (so that methods can be called on a model)
from dycoke_cli.compression.method import Method, SelectionInputs
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.engine.vision import encode_video
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.param import parameters_of
from tests.exactness import assert_generated, generated
from tests.families.sessions import prompt_about
from tests.families.stock import NONE_ONLY, Shorter, clip, placeholders, stock_inputs
from tests.families.tiny import MAKERS, make

NEW_TOKENS = 3
PARTS = ("choose", "merge_frames", "shrink")
BUDGETED = [name for name, method in METHODS.items() if "retain" in parameters_of(method)]


def methods_for(family: str, third: int) -> list[str]:
    """All for the first family; for another, one of each kind, and not the same as for the next."""
    number = list(MAKERS).index(family)
    if number == 0:
        return BUDGETED[third::3]
    kinds: dict[object, list[str]] = {}
    for name in BUDGETED:
        method = METHODS[name]
        # Not what a method is called: whether it merges, and whether it does so inside the tower.
        own = [getattr(method, part) is not getattr(Method, part) for part in PARTS]
        kinds.setdefault((method.needs, *own), []).append(name)
    return [names[number % len(names)] for names in kinds.values()][third::3]


OTHERS = [("llava_onevision", 1), ("qwen2_vl", 1)]
OTHERS += [(name, 5) for name in [*MAKERS][1:] if name not in NONE_ONLY]


@pytest.mark.parametrize(
    ("family", "shown", "third"),
    [
        *(("llava_onevision", 5, third) for third in range(3)),
        *[(*other, third) for other in OTHERS for third in range(3)],
    ],
)
def test_it_is_stock_transformers_on_a_shorter_prompt(family: str, shown: int, third: int) -> None:
    model, processor = make(family)
    known = family_of(model.config)
    inputs = stock_inputs(family, processor, clip(shown))
    prompt = prompt_about(model, processor, clip(shown))
    frames = prompt.frames
    reference = Shorter(model, inputs, frames)
    everything = reference.frames * reference.per_frame
    _, whole = reference.generate_shorter(1, [*range(everything)], False)
    # Positions both ways, in turn.
    ways = ("kept", "renumbered") if known.counts_tokens else ("kept",)
    features, embeds = reference.features, reference.embeds
    behind = placeholders(model, inputs)[-1] + (2 if family == "llava_onevision" else 1)
    given = SelectionInputs(features, question=embeds[behind:])
    if known.tower is not None:
        tower = encode_video(model, known, prompt, with_attention=True).tower
        given = replace(given, attention=tower.attention, keys=tower.keys)
    plain = given
    for number, name in enumerate(methods_for(family, third), list(MAKERS).index(family)):
        positions = ways[number % len(ways)]
        method = create(name, retain=0.4, positions=positions)
        if "attention" in method.needs and known.tower is None:
            sentence = f"the method {re.escape(name)} needs the vision encoder's attention"
            with pytest.raises(UsageError, match=sentence), method(model):
                pass
            continue
        if method.shrink() is not None:
            sentence = "is for a VideoSession" if known.has_pictures else "cuts them into patches"
            with pytest.raises(UsageError, match=sentence), method(model):
                pass
            continue
        reference.embeds, given = embeds.clone(), plain
        if (merging := method.merge_frames()) is not None:
            video = encode_video(model, known, prompt, merging=merging)
            seen = video.embeddings[: len(reference.visual)]
            reference.embeds[reference.visual] = seen
            tower = video.tower
            given = SelectionInputs(seen.view(features.shape), tower.attention, merged=video.merged)
        selection = method.choose(given)
        kept = selection.kept.tolist()
        if selection.features is not None:
            reference.embeds[[reference.visual[i] for i in kept]] = selection.features
        expected = reference.generate_shorter(NEW_TOKENS, kept, positions == "renumbered")
        with torch.no_grad(), method(model) as attachment:
            output = generated(model, inputs, NEW_TOKENS)
        assert_generated(output, *expected)
        stats = attachment.stats[0]
        count = method.kept_tokens(frames, reference.per_frame)
        assert (stats.visual, stats.visual_kept) == (everything, count), name
        changed = not torch.equal(output.logits[0][0], whole[0])
        assert changed == (count < everything), name
