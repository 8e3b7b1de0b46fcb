"""`--number`: probabilities of numbers, against a whole stock forward per beginning of a number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, OpenNumber, Uncompressed, VideoSession
from dycoke_cli.answer.answer import Answer
from dycoke_cli.compression.registry import create
from dycoke_cli.engine import scoring
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.scoring import Prefilled, TokenTree
from dycoke_cli.engine.session import Question, ask_together
from dycoke_cli.models.prompts.chat import text_ids
from tests.covering import EXTENDED
from tests.families.stock import QUESTION, clip, one_of_each_kind, stock_inputs
from tests.families.test_together import QUESTIONS, loaded_of
from tests.families.test_typed import Shortened, whole_forward
from tests.families.tiny import MAKERS, make

TYPED = OpenNumber()
LIKELY = "1.-"
# Those with a tower of many layers are slow.
FAMILIES = [
    pytest.param(*one.values, marks=EXTENDED) if one.values[0].startswith("gemma4") else one
    for one in one_of_each_kind(MAKERS)
]
Node = tuple[int, ...]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> set[Node]:
    """The beginnings of numbers that are read."""
    nodes: set[Node] = set()
    stock = Prefilled.read

    def noted(self: Prefilled, tree: TokenTree, *, is_last: bool) -> Any:
        nodes.update(tree.nodes)
        return stock(self, tree, is_last=is_last)

    monkeypatch.setattr(Prefilled, "read", noted)
    return nodes


@contextmanager
def writing_numbers(family: str) -> Iterator[None]:
    """Within the block a random model likes some digits, so that numbers have several of them."""
    model, processor = make(family)
    liked = processor.tokenizer.convert_tokens_to_ids([*LIKELY])

    def like(module: Any, args: Any, logits: torch.Tensor) -> torch.Tensor:
        return logits.index_add(
            -1, torch.tensor(liked), logits.new_full((*logits.shape[:-1], len(liked)), 4.5)
        )

    hook = model.get_output_embeddings().register_forward_hook(like)
    try:
        yield
    finally:
        hook.remove()


def begins_a_number(text: str) -> bool:
    whole, dot, decimals = text.lstrip().removeprefix("-").partition(".")
    first, *groups = whole.split(",")
    if groups and not (1 <= len(first) <= 3 and all(len(group) == 3 for group in groups[:-1])):
        return False
    if groups and not (len(groups[-1]) == 3 if dot else len(groups[-1]) <= 3):
        return False
    digits = (first, *groups, decimals)
    if dot and not first:
        return False
    return all(set(part) <= set("0123456789") for part in digits) and len(decimals) <= 6


def value(text: str) -> str | None:
    """The number that a text begins with; None if it begins with none."""
    for end in range(len(text), 0, -1):
        plain = text[:end].replace(",", "")
        whole = all(len(group) == 3 for group in text[:end].partition(".")[0].split(",")[1:])
        if plain[-1].isdigit() and begins_a_number(text[:end]) and whole:
            found = f"{float(plain):f}".rstrip("0").rstrip(".")
            return "0" if found == "-0" else found
    return None


def expected(
    nodes: set[Node], tokenizer: Any, logits: Callable[[Sequence[int]], torch.Tensor]
) -> dict[str, float]:
    """Probability that an answer begins with each number: over all beginnings that were read.

    Args:
        nodes: these.
        tokenizer: of the model.
        logits: `[len(ids) + 1, V]` of a stock forward of the prompt and tokens behind it.
    """
    characters = {i: tokenizer.decode([i]) for i in range(len(tokenizer))}
    numeric = [i for i, text in characters.items() if text in [*"0123456789.,- "]]
    found: dict[str, float] = {}
    unread: list[float] = []
    for node in ((), *sorted(nodes)):
        rows = logits(node).double().softmax(-1)
        before = math.prod(float(rows[place, token]) for place, token in enumerate(node))
        text = "".join(characters[i] for i in node)
        longer = [
            i
            for i in numeric
            if begins_a_number(text + characters[i]) and (characters[i] != " " or not node)
        ]
        unread += [before * float(rows[-1, i]) for i in longer if (*node, i) not in nodes]
        over = before * (1 - float(rows[-1, longer].sum()))
        if (number := value(text.lstrip())) is not None:
            found[number] = found.get(number, 0.0) + over
    assert max(unread) < max(found.values()) / 100
    return found


def assert_is(answer: Answer, wanted: dict[str, float]) -> None:
    logs = dict(zip(answer.scoring.texts, answer.scoring.log_probabilities, strict=True))
    assert {number: math.exp(log) for number, log in logs.items()} == pytest.approx(
        wanted, rel=1e-4, abs=1e-6
    )
    mass = sum(wanted.values())
    shares = {number: one / mass for number, one in wanted.items()}
    assert answer.probabilities == pytest.approx(shares, rel=1e-4, abs=1e-6)
    first, second = sorted(shares.values(), reverse=True)[:2]
    assert answer.choice == answer.answer == max(wanted, key=lambda number: wanted[number])
    assert answer.margin == pytest.approx(first - second, rel=1e-4, abs=1e-6)
    assert answer.scoring.mass == pytest.approx(mass, rel=1e-4, abs=1e-6)
    assert answer.mean == pytest.approx(sum(float(n) * share for n, share in shares.items()))
    assert any(len(number) > 1 for number in wanted)
    assert (answer.tokens.generated, answer.decode.steps) == (0, 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_compression_each_beginning_is_a_forward_of_the_stock_model(
    family: str, read: set[Node]
) -> None:
    model, processor = make(family)
    with writing_numbers(family):
        answer = VideoSession(loaded_of(family), clip(4)).ask(QUESTION, Uncompressed(), typed=TYPED)
        inputs = stock_inputs(family, processor, clip(4))
        wanted = expected(read, processor.tokenizer, lambda ids: whole_forward(model, inputs, ids))
    assert_is(answer, wanted)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("llava_onevision", "dycoke"),
        ("qwen3_vl", "dycoke-plus"),
        ("internvl", "evs"),
        ("qwen2_5_vl", "fastv"),
        ("molmo2", "vidcom2"),
    ],
)
def test_each_beginning_is_a_forward_over_the_tokens_that_a_method_keeps(
    family: str, name: str, read: set[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = make(family)
    shortened = Shortened(monkeypatch)
    with writing_numbers(family):
        session = VideoSession(loaded_of(family), clip(5), reuse=False)
        answer = session.ask(QUESTION, create(name), typed=TYPED)
        wanted = expected(read, processor.tokenizer, lambda ids: shortened.logits(model, ids))
    assert_is(answer, wanted)
    assert 0 < answer.tokens.visual_kept <= answer.tokens.visual


def test_without_a_video(read: set[Node]) -> None:
    from dycoke_cli.engine.session import ask_without_video

    family = "qwen2_5_vl"
    model, processor = make(family)
    with writing_numbers(family):
        options = GenerationOptions(typed=TYPED)
        answer = ask_without_video(loaded_of(family), QUESTION, options=options)
        blind = {"input_ids": text_ids(processor, QUESTION, ())}
        wanted = expected(read, processor.tokenizer, lambda ids: whole_forward(model, blind, ids))
    assert_is(answer, wanted)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_5"])
def test_three_unequal_prompts_are_answered_as_alone(family: str) -> None:
    """What is read behind one prompt of a batch for another one doesn't change its numbers."""
    loaded = loaded_of(family)
    sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate((1, 9, 5))]
    questions = [Question(s, q) for s, q in zip(sessions, QUESTIONS, strict=True)]
    method = DyCoke(kv_prune=False)
    with writing_numbers(family):
        together = ask_together(questions, method, GenerationOptions(typed=TYPED))
        for item, found in zip(questions, together, strict=True):
            alone = item.session.ask(item.question, method, typed=TYPED)
            assert found.probabilities == pytest.approx(alone.probabilities, abs=1e-9)


def test_a_flat_distribution_ends_at_a_limit(
    read: set[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_MOST_TOKENS", 20)
    with writing_numbers("llava_onevision"):
        session = VideoSession(loaded_of("llava_onevision"), clip(4))
        answer = session.ask(QUESTION, Uncompressed(), typed=TYPED)
    assert len(read) == 20
    assert sum(answer.probabilities.values()) == pytest.approx(1)


def test_where_no_number_is_likely_it_warns() -> None:
    session = VideoSession(loaded_of("llava_onevision"), clip(4))
    answer = session.ask(QUESTION, Uncompressed(), typed=TYPED)
    [warning] = [one for one in answer.warnings if "wanted to say something else" in one]
    assert "ask for one, as in 'Answer with a number.'" in warning
