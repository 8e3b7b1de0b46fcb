"""Which questions the engine answers in one batch, and whose turn it is."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli.ask import Ask
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.generation_options import GenerationOptions, TokenOptions, TypedOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.loop import local_engine
from dycoke_cli.loop.asker import Client
from tests.cli.fake_engine import FAMILY
from tests.forms import NEEDS_LIBRARY
from tests.loop.asking import Asking

SEEDED = GenerationOptions(temperature=0.5, seed=1)


def batches(asking: Asking, *asks: Ask, **more: Any) -> list[list[str]]:
    """The questions of each batch, where all videos were read before the first."""
    with asking.engine() as engine:
        pendings = engine.submit(*asks, **more)
        asking.finish(engine, pendings)
        for pending in pendings:
            assert [*pending.events()]  # an answer
    return asking.pretended.batches


@pytest.mark.parametrize(
    "other",
    [{}, {"generation": GenerationOptions(max_tokens=3, seed=5)}, {"history": (("a", "b"),)}],
    ids=str,
)
def test_equal_questions_are_one_batch(asking: Asking, other: dict[str, Any]) -> None:
    assert batches(asking, asking.ask("one"), asking.ask("two", **other)) == [["one", "two"]]


@pytest.mark.parametrize(
    "other",
    [
        {"edge": 3},
        {"frames": 3},
        {"method": "evs"},
        {"generation": GenerationOptions(typed=TypedOptions.yes_no())},
        {"generation": GenerationOptions(typed=TypedOptions(("a", "b")))},
        {"generation": GenerationOptions(tokens=TokenOptions(stop=("x",)))},
    ],
    ids=str,
)
def test_questions_that_differ_are_not(asking: Asking, other: dict[str, Any]) -> None:
    assert batches(asking, asking.ask("one"), asking.ask("two", **other)) == [["one"], ["two"]]


def test_typed_answers_about_one_video_are_no_batch(asking: Asking) -> None:
    """They share what is prefilled; those about several videos are one, with the last of these."""
    typed = GenerationOptions(typed=TypedOptions.yes_no())
    asks = [asking.ask(name, name=name[0], generation=typed) for name in ("a1", "a2", "b", "c")]
    assert batches(asking, *asks) == [["a1"], ["a2", "b", "c"]]


@NEEDS_LIBRARY
def test_answers_of_two_forms_are_not_one_batch(asking: Asking) -> None:
    forms = [
        GenerationOptions(structured=StructuredOutput("regex", regex)) for regex in ("a", "b", "a")
    ]
    asks = [asking.ask(f"{n}", generation=form) for n, form in enumerate(forms)]
    assert batches(asking, *asks, asking.ask("free")) == [["0", "2"], ["1"], ["free"]]


@pytest.mark.parametrize(
    "alone",
    [
        {"generation": SEEDED},
        {"generation": GenerationOptions(tokens=TokenOptions(repetition_penalty=1.1))},
        {"method": "fastv"},  # prunes inside the language model, for one sequence
        {"method": "uniform-spatial:frames_by=question"},
        {"compare": True},
        {"videos": 2},
    ],
    ids=str,
)
def test_what_is_answered_alone(asking: Asking, alone: dict[str, Any]) -> None:
    asks = [asking.ask(question, **alone) for question in ("one", "two")]
    made = batches(asking, *asks)
    # A comparison asks each question again, without compression.
    assert [batch[0] for batch in made] == (
        ["?", "?", "one", "one", "two", "two"] if "compare" in alone else ["one", "two"]
    )
    assert {len(batch) for batch in made} == {1}


def test_questions_about_a_found_family_are_answered_one_by_one(asking: Asking) -> None:
    """A stock processor makes their prompts, each for itself."""
    found = replace(FAMILY, stock_inputs=True)
    asking.pretended.info = replace(asking.pretended.info, family=found)
    assert batches(asking, *map(asking.ask, "abc")) == [["a"], ["b"], ["c"]]


def test_what_waits_is_divided_into_batches_of_equal_questions(asking: Asking) -> None:
    kinds: Sequence[dict[str, Any]] = [
        {}, {"method": "evs"}, {}, {"generation": SEEDED}, {"edge": 3}, {}, {},
        {"method": "evs"}, {}, {"generation": SEEDED},
    ]  # fmt: skip
    asks = [asking.ask(f"{number}", **kind) for number, kind in enumerate(kinds)]
    # In the order of their first ones; each that is sampled alone.
    assert batches(asking, *asks) == [["0", "2", "5", "6", "8"], ["1", "7"], ["3"], ["4"], ["9"]]


@pytest.mark.parametrize(("bulk", "expected"), [(False, ["0", "12"]), (True, ["12", "0"])])
def test_a_run_has_its_largest_batch_first(asking: Asking, bulk: bool, expected: list[str]) -> None:
    client = Client(bulk=bulk)
    client.is_over = True
    asks = [asking.ask("0", method="evs"), *map(asking.ask, "12")]
    assert ["".join(batch) for batch in batches(asking, *asks, client=client)] == expected


def test_questions_of_several_clients_are_one_batch(asking: Asking) -> None:
    with asking.engine() as engine:
        pendings = [p for n in range(3) for p in engine.submit(asking.ask(f"{n}"))]
        asking.finish(engine, pendings)
    assert asking.pretended.batches == [["0", "1", "2"]]


def test_a_batch_has_a_limit_and_a_function_has_its_turn(asking: Asking) -> None:
    asking.pretended.fitting = 100
    with asking.engine() as engine:
        pendings = [p for n in range(11) for p in engine.submit(asking.ask(f"{n}"))]
        asking.wait_until_read(pendings)
        called: list[int] = []
        thread = threading.Thread(
            target=lambda: engine.call(lambda _: called.append(len(asking.pretended.batches)))
        )
        engine.advance()
        # Another thread drives the engine: the function is called as soon as a batch ends.
        engine.start()
        thread.start()
        thread.join()
        for pending in pendings:
            pending.wait()
    assert [len(batch) for batch in asking.pretended.batches] == [8, 3]
    assert called == [1] or called == [2]


def test_no_more_are_answered_together_than_fit_into_the_memory(asking: Asking) -> None:
    asking.pretended.fitting = 2
    made = batches(asking, *map(asking.ask, ("one two", "three", "four")))
    assert made == [["one two", "three"], ["four"]]


def test_a_run_of_many_starves_nobody(asking: Asking) -> None:
    """A single question waits for the batch under way, and for no other of a run."""
    run, many = Client(bulk=True), [asking.ask(f"many {n}", frames=3) for n in range(24)]
    run.is_over = True
    with asking.engine() as engine:
        pendings = engine.submit(*many, client=run)
        asking.wait_until_read(pendings)
        engine.advance()
        pendings += engine.submit(asking.ask("one"))
        asking.finish(engine, pendings)
    assert [len(batch) for batch in asking.pretended.batches] == [8, 8, 1, 8] or [
        len(batch) for batch in asking.pretended.batches
    ] == [8, 1, 8, 8]
    assert ["one"] in asking.pretended.batches[1:3]


def test_a_run_waits_for_a_whole_batch_while_videos_come(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_engine, "BATCH_WAIT_S", math.inf)
    run = Client(bulk=True)
    with asking.engine() as engine:
        first = engine.submit(*(asking.ask(f"{n}") for n in range(3)), client=run)
        asking.wait_until_read(first)
        engine.advance()
        assert not asking.pretended.batches
        rest = engine.submit(*(asking.ask(f"{n}") for n in range(3, 10)), client=run)
        run.is_over = True
        asking.finish(engine, [*first, *rest])
    assert [len(batch) for batch in asking.pretended.batches] == [8, 2]


def test_a_method_is_known_before_its_video_is_read(asking: Asking) -> None:
    wrong = asking.ask("one")
    method = parse_spec("dycoke:prune_layer=99").create()
    wrong = replace(wrong, request=replace(wrong.request, method=method))
    with asking.engine() as engine, pytest.raises(Exception, match="prune_layer must be"):
        engine.submit(wrong)
    assert not asking.pretended.read


@pytest.mark.parametrize(("owner", "place"), [(None, 4), ("anna", 1)])
def test_turns_go_around_those_who_share_one(asking: Asking, owner: str | None, place: int) -> None:
    """A server has a client for each request, and an owner for whoever sends them."""
    with asking.engine() as engine:
        pendings = [
            pending
            for name, client in [*((f"anna{n}", Client(owner=owner)) for n in range(4)),
                                 ("ben", Client(owner=owner and "ben"))]
            for pending in engine.submit(asking.ask(name, videos=0), client=client)
        ]  # fmt: skip
        asking.finish(engine, pendings)
    assert asking.pretended.words.index("ben") == place
