"""Frames merged inside the tower, against a tower in which they are written over each other.

Its layers see all frames, and know nothing of each other's: frames that are made equal stay equal.
"""

from __future__ import annotations

import copy
import math
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, EarlyTom, Uncompressed, VideoSession
from dycoke_cli.compression.registry import create
from dycoke_cli.engine import vision
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.engine.vision import VisualCache
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.stock.private_api import attention_implementation
from tests.compression.earlytom import groups_by_loops, merged_by_loops
from tests.engine.vision_tower.towers import CAN, files, identified
from tests.exactness import assert_same
from tests.families.sessions import assert_as_alone, loaded_of, prompt_about, questions_of, same
from tests.families.stock import clip, stock_inputs
from tests.families.tiny import make
from tests.natural import Pictures, pan

WINDOW = 32
ALL = EarlyTom(retain=0.01, group_threshold=-1.0, max_window=9)
"""Merges as much as it can."""


class WrittenOver:
    """Hooks on the layers of a tower; `into` and `groups` are those of the frames that ran."""

    def __init__(self, layers: Any, behind: list[int], method: EarlyTom) -> None:
        self._method, self._last = method, behind[-1] + 1
        self.into: list[int] = []
        self.groups: list[int] = []
        self.hooks = [
            layers[number + 1].register_forward_pre_hook(self._merge(number + 1))
            for number in behind
        ]

    def _merge(self, number: int) -> Any:
        def hook(module: Any, args: Any) -> Any:
            hidden = args[0].clone()
            self.into = self.into or [*range(len(hidden))]
            self.groups = []
            for start in range(0, len(hidden), WINDOW):
                window = range(start, min(start + WINDOW, len(hidden)))
                left = sorted({self.into[f] for f in window})
                frames = [hidden[f].tolist() for f in left]
                least = max(1, math.ceil(len(window) * self._method.retain))
                frames, rows = merged_by_loops(frames, self._method, least)
                for f in window:
                    row = rows[left.index(self.into[f])]
                    self.into[f] = left[rows.index(row)]
                    hidden[f] = torch.tensor(frames[row], dtype=hidden.dtype)
                if number == self._last:
                    groups = groups_by_loops(frames, self._method)
                    of_row = [100 * start + n for n, group in enumerate(groups) for _ in group]
                    self.groups += [of_row[rows[left.index(f)]] for f in self._before(window, left)]
            return (hidden, *args[1:])

        return hook

    def _before(self, window: range, left: list[int]) -> list[int]:
        """For each frame of a window the one of those left before that it was part of."""
        return [max(f for f in left if f <= frame) for frame in window]


def of_loops(model: Any, prompt: Any, method: EarlyTom, monkeypatch) -> Any:
    known = family_of(model.config)
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", 10**9)
    behind = method.merge_frames().layers(known.tower.depth(model.config))
    oracle = WrittenOver(known.tower.transformer_layers(model), behind, method)
    encoded = vision.encode_video(model, known, prompt, with_attention=True)
    for hook in oracle.hooks:
        hook.remove()
    return encoded, oracle


def numbered(values: Any) -> list[int]:
    """Labels as numbers in order."""
    order = sorted(set(values))
    return [order.index(value) for value in values]


def check(model: Any, prompt: Any, method: EarlyTom, numbers: int, monkeypatch) -> Any:
    known = family_of(model.config)
    theirs, oracle = of_loops(model, prompt, method, monkeypatch)
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", numbers)
    tower = model.model.get_submodule(known.tower.name)
    stock = attention_implementation(tower)
    ours = vision.encode_video(model, known, prompt, merging=method.merge_frames())
    assert [*ours.merged.into] == oracle.into
    assert numbered(ours.merged.groups) == numbered(oracle.groups)
    assert_same(ours.embeddings, theirs.embeddings)
    assert_same(ours.tower.attention, theirs.tower.attention)
    assert_same(ours.tower.keys, theirs.tower.keys)
    assert attention_implementation(tower) == stock
    return ours


@lru_cache(maxsize=1)
def deeper(family: str) -> tuple[Any, Any]:
    """The tiny model with two more layers in its tower, for the last isn't always used."""
    model, processor = make(family)
    model = copy.deepcopy(model)
    layers = family_of(model.config).tower.transformer_layers(model)
    # Copies share the configuration, which says how they attend.
    shared = {id(part.config): part.config for part in layers.modules() if hasattr(part, "config")}
    layers.extend(copy.deepcopy([*layers], shared))
    model.config.vision_config.num_hidden_layers += 2
    return model, processor


@pytest.mark.parametrize(
    ("family", "frames", "numbers"),  # that are encoded at a time: a window's, or all
    [*product(CAN, (1, 3, 9, 40), (1, 10**9))],
)
@torch.inference_mode()
def test_it_is_a_tower_in_which_frames_are_written_over(family, frames, numbers, monkeypatch):
    model, processor = deeper(family)
    prompt = prompt_about(model, processor, clip(frames))
    ours = check(model, prompt, ALL, numbers, monkeypatch)
    assert frames < 9 or len(set(ours.merged.into)) < frames


@pytest.mark.parametrize("method", [EarlyTom(), ALL, EarlyTom(retain=0.9, group_threshold=-1.0)])
@torch.inference_mode()
def test_layers_in_a_row(method, monkeypatch) -> None:
    """Frames are merged twice."""
    model, processor = deeper("llava_onevision")
    prompt = prompt_about(model, processor, Pictures.of(pan(37)))
    behind = method.merge_frames().layers(4)
    assert behind == [0, 2]
    ours = check(model, prompt, method, 1, monkeypatch)
    left = sorted(set(ours.merged.into))
    assert len(left) < 37
    assert len(left) >= 37 * method.retain


@torch.inference_mode()
def test_later_layers_run_on_fewer_frames() -> None:
    model, processor = deeper("llava_onevision")
    known = family_of(model.config)
    prompt = prompt_about(model, processor, Pictures.of(pan(20)))
    ran: list[int] = []
    hooks = [
        layer.mlp.register_forward_hook(lambda module, args, output: ran.append(len(args[0])))
        for layer in known.tower.transformer_layers(model)
    ]
    ours = vision.encode_video(model, known, prompt, merging=EarlyTom().merge_frames())
    for hook in hooks:
        hook.remove()
    assert ran[0] == 20 > ran[1] == ran[2] > ran[3] == len(set(ours.merged.into))


@pytest.mark.parametrize("family", CAN)
def test_a_session_and_stock_generate_give_the_same(family) -> None:
    loaded = loaded_of(family)
    model, processor = make(family)
    method = EarlyTom(retain=0.3, group_threshold=-1.0, max_window=9)
    answer = VideoSession(loaded, clip(9)).ask("What is it?", method, max_tokens=4)
    with method(model) as attachment:
        output = model.generate(
            **stock_inputs(family, processor, clip(9)), max_new_tokens=4, do_sample=False
        )
    text = processor.tokenizer.decode(output[0, -4:], skip_special_tokens=True).strip()
    assert text == answer.answer
    stats = attachment.stats[0]
    assert stats.visual_kept == answer.tokens.visual_kept == int(answer.tokens.visual * 0.3)


@pytest.mark.parametrize(("family", "implementation"), [*product(CAN, ("eager", "sdpa"))])
def test_masks_of_whole_videos_do_not_matter(family, implementation, monkeypatch) -> None:
    """Some implementations get one for each frame, though there is no padding."""
    model, processor = deeper(family)
    known = family_of(model.config)
    prompt = prompt_about(model, processor, clip(9))
    expected = vision.encode_video(model, known, prompt, merging=ALL.merge_frames())
    tower = model.model.get_submodule(known.tower.name)
    layers = known.tower.transformer_layers(model)

    def masked(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        size = args[0].shape[1]
        mask = torch.zeros(9, 1, size, size, dtype=args[0].dtype)
        return (args[0], *[mask for _ in args[1:]]), kwargs

    hooks = [layer.register_forward_pre_hook(masked, with_kwargs=True) for layer in layers]
    tower.set_attn_implementation(implementation)
    found = vision.encode_video(model, known, prompt, merging=ALL.merge_frames())
    tower.set_attn_implementation("sdpa")
    for hook in hooks:
        hook.remove()
    assert len(set(found.merged.into)) < 9
    assert_same(found.embeddings, expected.embeddings)


def test_the_method_is_told_which_frames_are_left() -> None:
    seen = []

    class Telling(EarlyTom):
        def choose(self, given: Any) -> Any:
            seen.append(given.merged.into)
            return super().choose(given)

    method = Telling(retain=0.3, group_threshold=-1.0, max_window=9)
    loaded = loaded_of("llava_onevision")
    model, processor = make("llava_onevision")
    sessions = [VideoSession(loaded, clip(9)), VideoSession(loaded, clip(3))]
    asked = [Question(session, "what happens") for session in sessions]
    ask_together(asked, method, GenerationOptions(max_tokens=1))
    with method(model):
        inputs = stock_inputs("llava_onevision", processor, clip(9))
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert [len(into) for into in seen] == [9, 3, 9]
    assert seen[0] == seen[2] != (*range(9),)


def test_answers_with_everything_kept_and_with_a_budget() -> None:
    session = VideoSession(loaded_of("llava_onevision"), clip(9))
    whole, kept, half = (
        session.ask("what happens", method, max_tokens=8)
        for method in (Uncompressed(), EarlyTom(retain=1.0, positions="kept"), ALL)
    )
    assert kept.answer == whole.answer != half.answer
    assert half.tokens.visual_kept == max(1, int(half.tokens.visual * 0.01))


@pytest.mark.slow
def test_several_videos_are_answered_as_alone() -> None:
    assert_as_alone(questions_of(loaded_of("llava_onevision"), (9, 2, 12)), ALL, max_tokens=6)


def test_stock_generate_takes_one_video_at_a_time() -> None:
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(5))
    both = {name: torch.cat([value, value]) for name, value in inputs.items()}
    with (
        pytest.raises(UsageError, match="earlytom takes one video at a time in generate"),
        EarlyTom()(model),
    ):
        model.generate(**both, max_new_tokens=1, do_sample=False)


def test_each_way_of_encoding_is_one_of_its_own(tmp_path) -> None:
    """In a session, and on disk, where only whole videos are."""
    loaded = identified("llava_onevision")
    session = VideoSession(loaded, clip(9), cache=VisualCache(files(tmp_path)))
    methods = [Uncompressed(), ALL, create("holitom"), EarlyTom(retain=0.9), EarlyTom(ema=0.5),
               DyCoke(merge_stage="vision", kv_prune=False)]  # fmt: skip
    fresh = [
        VideoSession(loaded, clip(9)).ask("what happens", method, max_tokens=2)
        for method in methods
    ]
    for _ in range(2):
        for method, expected_answer in zip(methods, fresh, strict=True):
            assert same(session.ask("what happens", method, max_tokens=2), expected_answer)
    again = VideoSession(loaded, clip(9), cache=VisualCache(files(tmp_path)))
    assert same(again.ask("what happens", Uncompressed(), max_tokens=2), fresh[0])
