"""The vision encoder's attention to each visual token, against the weights of eager attention."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.compression.method import Method, Selection, SelectionInputs
from dycoke_cli.engine import vision
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.vision import VisualCache
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.stock.private_api import attention_implementation
from tests.engine.tiny import SHAPES, make_inputs, make_model
from tests.engine.vision_tower.towers import CAN, CANNOT, files, identified, rows_of
from tests.exactness import assert_same
from tests.families.sessions import loaded_of, prompt_about
from tests.families.stock import QUESTION, at_decoder, clip, stock_inputs
from tests.families.tiny import make

WITH_CLASS_TOKEN = ("llava_next_video", "video_llava", "internvl")
OF_THE_LAST_BUT_ONE = ("llava_next_video", "video_llava")


@dataclass(frozen=True)
class Attended(Method):
    """Keeps the half of all tokens with the most attention, and notes what it is given."""

    name: ClassVar[str] = "attended"
    needs = ("attention",)

    seen: list[SelectionInputs] = field(default_factory=list, compare=False)

    def choose(self, given: SelectionInputs) -> Selection:
        self.seen.append(given)
        attention = given.attention.flatten()
        order = attention.argsort(descending=True, stable=True)
        return Selection(order[: len(order) // 2].sort().values)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        return frames * per_frame // 2


class Eager:
    """What the stock tower's eager attention weighs, and its keys, of each layer."""

    def __init__(self, model, tower) -> None:
        self.weights: list[list[torch.Tensor]] = []
        self.keys: list[list[torch.Tensor]] = []
        self._tower, self._stock = tower, attention_implementation(tower)
        parts = [m for m in tower.modules() if hasattr(m, "q_proj") and hasattr(m, "k_proj")]
        self._hooks = []
        for part in parts:
            self.weights.append([])
            self.keys.append([])
            to = self.weights[-1].append, self.keys[-1].append
            self._hooks += [
                part.register_forward_hook(lambda _, args, out, to=to: to[0](out[1])),
                part.k_proj.register_forward_hook(lambda _, args, out, to=to: to[1](out)),
            ]
        tower.set_attn_implementation("eager")

    def __enter__(self) -> Eager:
        return self

    def __exit__(self, *_: object) -> None:
        self._tower.set_attn_implementation(self._stock)
        for hook in self._hooks:
            hook.remove()


def expected(family: str, inputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention `[F, N]` and keys `[F, N, K]`, by loops, of what stock `generate()` encodes."""
    model, _ = make(family)
    known = family_of(model.config)
    tower = model.model.get_submodule(known.tower.name)
    with Eager(model, tower) as eager:
        at_decoder(model, inputs)
    layer = -2 if family in OF_THE_LAST_BUT_ONE else -1
    weights = torch.cat(eager.weights[layer])  # [F, H, P, P]
    heads = weights.shape[1]
    keys = torch.cat(eager.keys[layer]).unflatten(-1, (heads, -1))  # [F, P, H, K]
    attention, pooled = [], []
    for frame, of_frame in zip(weights, keys, strict=True):
        received = []
        for patch in range(frame.shape[-1]):
            asking = [0] if family in WITH_CLASS_TOKEN else range(frame.shape[-2])
            all_of = [float(frame[h, q, patch]) for h in range(heads) for q in asking]
            received.append(sum(all_of) / len(all_of))
        rows = rows_of(family)
        attention.append([sum(received[r] for r in token) / len(token) for token in rows])
        pooled.append(torch.stack([of_frame[token].mean((0, 1)) for token in rows]))
    return torch.tensor(attention), torch.stack(pooled)


def encoded(family: str, frames: int):
    model, processor = make(family)
    known = family_of(model.config)
    prompt = prompt_about(model, processor, clip(frames))
    return vision.encode_video(model, known, prompt, with_attention=True)


@pytest.mark.parametrize(
    ("family", "numbers"),  # that are encoded at a time: a frame's, or all
    [*product(CAN, (1, 10**9))],
)
def test_it_is_that_of_eager_attention(family, numbers, monkeypatch) -> None:
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", numbers)
    model, processor = make(family)
    known = family_of(model.config)
    tower = model.model.get_submodule(known.tower.name)
    before = attention_implementation(tower)
    found = encoded(family, 5)
    assert attention_implementation(tower) == before
    attention, keys = expected(family, stock_inputs(family, processor, clip(5)))
    assert_same(found.tower.attention, attention)
    assert_same(found.tower.keys, keys)
    assert attention.std() > 0
    plain = vision.encode_video(model, known, prompt_about(model, processor, clip(5)))
    assert plain.tower is None
    assert torch.equal(plain.embeddings, found.embeddings)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_pooled_as_the_features_are(shape) -> None:
    """Also where an odd grid is pooled, so that neighbouring tokens share patches."""
    model = make_model(shape)
    inputs = make_inputs(shape, 3)
    tower = model.model.vision_tower
    with Eager(model, tower) as eager, torch.no_grad():
        model(**inputs)
    map_of = eager.weights[-1][0].mean((1, 2))[..., None]
    method = Attended()
    with method(model):
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    given = method.seen[0]
    stock = model.model.apply_pooling(map_of)[..., 0]
    torch.testing.assert_close(given.attention, stock, atol=1e-6, rtol=1e-5)


def test_frames_that_are_alike_have_that_of_the_first() -> None:
    model, processor = make("llava_onevision")
    known = family_of(model.config)
    shown = clip(3)
    twice = type(shown).of(shown.frames[[0, 1, 0, 2]])
    prompt = prompt_about(model, processor, twice)
    found = vision.encode_video(model, known, prompt, with_attention=True).tower
    assert len(found.attention) == len(found.keys) == 4
    assert torch.equal(found.attention[0], found.attention[2])
    assert torch.equal(found.keys[0], found.keys[2])
    assert not torch.equal(found.attention[0], found.attention[1])


@pytest.mark.parametrize("family", CAN)
def test_a_stock_models_own_generate_gives_the_same(family) -> None:
    model, processor = make(family)
    session = VideoSession(loaded_of(family), clip(5))
    alone, attached = Attended(), Attended()
    answer = session.ask(QUESTION, alone, max_tokens=5)
    inputs = stock_inputs(family, processor, clip(5))
    with attached(model):
        tokens = [
            model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, -5:].tolist()
            for _ in range(2)
        ]
    assert tokens[0] == tokens[1]
    words = processor.tokenizer.decode(tokens[0], skip_special_tokens=True).strip()
    assert answer.answer == words
    for given in attached.seen:
        assert_same(given.attention, alone.seen[0].attention)
        assert_same(given.keys, alone.seen[0].keys)


@pytest.mark.parametrize("family", CAN)
def test_a_forward_that_encodes_the_video_itself_gives_the_same(family) -> None:
    """As `generate()` did up to transformers 5.17."""
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    method, usual = Attended(), Attended()
    with torch.no_grad(), method(model):
        model(**inputs)
    with usual(model):
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert_same(method.seen[0].attention, usual.seen[0].attention)


def test_each_sequence_of_a_batch_gets_that_of_its_own_video() -> None:
    loaded = loaded_of("llava_onevision")
    sessions = [VideoSession(loaded, clip(frames, frames)) for frames in (2, 5)]
    method = Attended()
    asked = [Question(s, QUESTION) for s in sessions]
    together = ask_together(asked, method, GenerationOptions(max_tokens=4))
    shapes = [tuple(given.attention.shape) for given in method.seen]
    assert shapes == [(2, 4), (5, 4)]
    for session, answer in zip(sessions, together, strict=True):
        assert answer.answer == session.ask(QUESTION, Attended(), max_tokens=4).answer


def test_stock_batches_with_a_prompt_without_a_video() -> None:
    model, processor = make("llava_onevision")
    turns = [
        [{"role": "user", "content": [*({"type": "video"} for _ in range(n)),
                                      {"type": "text", "text": QUESTION}]}]
        for n in (1, 0, 1)
    ]  # fmt: skip
    text = [processor.apply_chat_template(t, add_generation_prompt=True) for t in turns]
    videos = [
        torch.stack([torch.from_numpy(f).permute(2, 0, 1) for f in clip(3, seed).frames])
        for seed in (0, 1)
    ]
    inputs = processor(
        text=text, videos=videos, padding=True, padding_side="left", return_tensors="pt",
        videos_kwargs={"do_sample_frames": False},
    )  # fmt: skip
    method = Attended()
    with method(model):
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    for seed, given in enumerate(method.seen):
        session_method = Attended()
        VideoSession(loaded_of("llava_onevision"), clip(3, seed)).ask(
            QUESTION, session_method, max_tokens=2
        )
        torch.testing.assert_close(
            given.attention, session_method.seen[0].attention, atol=1e-6, rtol=1e-4
        )
    assert len(method.seen) == 2


def test_pictures_beside_a_video_are_refused_and_leave_nothing_behind() -> None:
    model, processor = make("llava_onevision")
    inputs = stock_inputs("llava_onevision", processor, clip(3))
    tower = model.model.vision_tower
    pictures = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    method = Attended()
    with method(model):
        tower(pictures)
        with pytest.raises(UsageError, match="have 3 frames, but the vision encoder ran on 5"):
            model.generate(**inputs, max_new_tokens=2, do_sample=False)
        model.generate(**inputs, max_new_tokens=2, do_sample=False)
    tower(pictures)
    assert len(method.seen) == 1


def test_an_expected_method_doesnt_run_the_tower_a_second_time() -> None:
    loaded, method = loaded_of("llava_onevision"), Attended()
    runs: list[int] = []
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))

    def ask(*expected: Method) -> tuple[list[str], int]:
        runs.clear()
        session = VideoSession(loaded, clip(4))
        session.record_attention_for(settled(one, loaded.info) for one in expected)
        answers = [session.ask(QUESTION, one, max_tokens=4).answer for one in (Method(), method)]
        return answers, len(runs)

    unexpected, expected = ask(), ask(Method(), method)
    hook.remove()
    assert unexpected[1] == 2 * expected[1] > 0
    assert unexpected[0] == expected[0]
    torch.testing.assert_close(*(seen.attention for seen in method.seen), atol=0, rtol=0)


def test_the_cache_on_disk_has_it_or_is_of_no_use(tmp_path) -> None:
    loaded, cache = identified("llava_onevision"), VisualCache(files(tmp_path))

    def ask(method: Method):
        session = VideoSession(loaded, clip(4), cache=cache)
        return session.ask(QUESTION, method, max_tokens=4)

    runs = []
    hook = loaded.model.model.vision_tower.register_forward_hook(lambda *_: runs.append(1))
    ask(Method())
    once = len(runs)
    first = Attended()
    answer = ask(first)
    assert len(runs) == 2 * once  # what was stored has no attention
    second = Attended()
    assert ask(second).answer == answer.answer
    ask(Method())
    hook.remove()
    assert len(runs) == 2 * once
    assert len([*tmp_path.glob("*.safetensors")]) == 1
    assert torch.equal(first.seen[0].attention, second.seen[0].attention)
    assert torch.equal(first.seen[0].keys, second.seen[0].keys)


@pytest.mark.parametrize("family", CANNOT)
def test_families_whose_towers_cannot_say_so(family) -> None:
    model, _ = make(family)
    if family_of(model.config).only_none:
        return
    sentence = (
        "attended needs the vision encoder's attention to each visual token, which the family"
    )
    with pytest.raises(UsageError, match=sentence), Attended()(model):
        pass
    session = VideoSession(loaded_of(family), clip(2))
    with pytest.raises(UsageError, match=sentence):
        session.ask(QUESTION, Attended())
