"""Videos and the model that the engine has in memory: what is kept, freed, and loaded again."""

from __future__ import annotations

from typing import Any

import pytest

from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.loop import reading
from dycoke_cli.loop.engine import Engine
from dycoke_cli.loop.pending import Client
from dycoke_cli.video.limits import Limits
from tests.loop.pretended import Asking
from tests.waiting import until


def answered(asking: Asking, engine: Engine, *names: str) -> None:
    """Ask about each video, one after the other."""
    for name in names:
        [pending] = engine.submit(asking.ask("What?", name=name))
        pending.wait()


def test_a_video_is_read_once_for_questions_behind_each_other(asking: Asking) -> None:
    with asking.engine() as engine:
        answered(asking, engine, "a", "a")
        assert engine.holds(asking.ask("Why?", name="a"))
        assert not engine.holds(asking.ask("Why?", name="a"), decoded=True)
        assert not engine.holds(asking.ask("Why?", name="a", frames=5))
    assert len(asking.pretended.read) == 1


def test_videos_that_were_asked_about_least_recently_go(asking: Asking) -> None:
    with asking.engine(keep=2) as engine:
        answered(asking, engine, "a", "b", "a", "c")
        held = [name for name in "abc" if engine.holds(asking.ask("Why?", name=name))]
        assert held == ["a", "c"]
        assert engine.free()
        assert not engine.free()
        assert not any(engine.holds(asking.ask("Why?", name=name)) for name in "abc")


def test_nothing_is_kept_where_nothing_is_to_be(asking: Asking) -> None:
    with asking.engine(keep=0) as engine:
        answered(asking, engine, "a", "a")
        assert not engine.holds(asking.ask("Why?", name="a"))
    assert len(asking.pretended.read) == 2


def test_videos_of_a_run_and_of_a_client_that_drops_them_are_not_kept(asking: Asking) -> None:
    """They would take the place of those that are asked about again."""
    run, other = Client(bulk=True), Client()
    run.is_over = True
    with asking.engine() as engine:
        for name, client in (("a", run), ("b", other), ("c", Client())):
            [pending] = engine.submit(asking.ask("What?", name=name), client=client)
            pending.wait()
        assert [engine.holds(asking.ask("Why?", name=name)) for name in "abc"] == [0, 1, 1]
        engine.drop(other)
        assert [engine.holds(asking.ask("Why?", name=name)) for name in "abc"] == [0, 0, 1]
        # What others ask about again is kept for them.
        pendings = [
            pending
            for client in (run, other)
            for pending in engine.submit(asking.ask("Why?", name="d"), client=client)
        ]
        asking.finish(engine, pendings)
        assert engine.holds(asking.ask("Why?", name="d"))


def test_a_video_stays_while_a_question_about_it_waits(asking: Asking) -> None:
    with asking.engine(keep=0) as engine:
        asks = [asking.ask(f"{n}", name="a", method=m) for n, m in enumerate(("evs", "dycoke"))]
        pendings = engine.submit(*asks)
        for pending in pendings:
            pending.wait()
    assert len(asking.pretended.read) == 1


def test_an_idle_model_is_unloaded_and_loaded_again(asking: Asking) -> None:
    with asking.engine() as engine:
        engine.start()
        answered(asking, engine, "a")
        loaded = engine.loaded
        engine.unload()
        until(lambda: engine.loaded is None)
        assert not engine.holds(asking.ask("Why?", name="a"))
        answered(asking, engine, "a")
        assert engine.loaded is not loaded
    assert asking.pretended.loads == 2
    assert len(asking.pretended.read) == 2


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_video_whose_place_another_takes_is_freed(asking: Asking, answered_before: bool) -> None:
    """The other one has decoders of its own, as a window of a stream."""
    with asking.engine() as engine:
        [first] = engine.submit(asking.ask("One?", name="a"))
        if answered_before:
            first.wait()
        [second] = engine.submit(asking.ask("Two?", name="a"), decoders=[reading.Decoder(Limits())])
        asking.finish(engine, [first, second])
        assert [one.ask for one in engine._readers._held] == [second.ask]
        assert engine.free()
        assert not engine._readers._held
    assert len(asking.pretended.read) == 2


def test_each_video_that_is_read_again_is_freed(asking: Asking) -> None:
    """Two questions of one method about a video whose windows another method took."""
    with asking.engine() as engine:
        pendings = engine.submit(asking.ask("One?", name="a"), asking.ask("Two?", name="a"))
        asking.wait_until_read(pendings)
        for pending in pendings:
            engine._waiting.remove(pending)  # it is answered
            engine.read_again(pending)
        asking.finish(engine, pendings)
        engine.free()
        assert not engine._readers._held
        assert not engine._videos
    assert len(asking.pretended.read) == 3


def test_a_question_that_comes_just_then_keeps_the_model(asking: Asking) -> None:
    with asking.engine() as engine:
        loaded = engine.call(lambda loaded: loaded)
        engine.unload()
        answered(asking, engine, "a")
        assert engine.loaded is loaded


def test_a_model_that_cannot_be_loaded_fails_its_questions_and_is_tried_again(
    asking: Asking,
) -> None:
    fails = [True]

    def load(fit: Any) -> Any:
        if fails:
            fails.pop()
            raise OutOfMemoryError("there is no room")
        return asking.pretended.load()

    with asking.engine(load=load, loaded=None) as engine:
        engine.start()
        [pending] = engine.submit(asking.ask("What?"))
        with pytest.raises(OutOfMemoryError, match="no room"):
            [*pending.events()]
        answered(asking, engine, "a")
        assert engine.loaded is not None


def test_it_is_idle_once_nobody_asks(asking: Asking) -> None:
    with asking.engine() as engine:
        engine.start()
        asking.pretended.gate.clear()
        [pending] = engine.submit(asking.ask("What?"))
        assert engine.idle_s == 0
        asking.pretended.gate.set()
        pending.wait()
        with engine.occupied():
            assert engine.idle_s == 0
        until(lambda: engine.idle_s)


def test_a_fault_of_the_engine_fails_who_waits_and_not_who_comes_later(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would wait for ever."""
    with asking.engine() as engine:
        take, faults = engine._take, [KeyError("a fault")]

        def failing() -> Any:
            if faults:
                raise faults.pop()
            return take()

        monkeypatch.setattr(engine, "_take", failing)
        engine.start()
        [pending] = engine.submit(asking.ask("What?"))
        with pytest.raises(KeyError):
            [*pending.events()]
        answered(asking, engine, "a")
