"""What `dycoke tune` measures: within its minutes, once, and of the videos that can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.ask import Ask, Done, Failed
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.registry import create
from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.runs.journal import open_journal
from dycoke_cli.runs.listener import Listener
from dycoke_cli.tuning import measuring
from dycoke_cli.tuning.search import FILE, Observation, TuneJournal
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.tuning.tune_run import Meter
from tests.tuning.test_search import observed

SETTINGS = {f"evs-{n}": create("evs", retain=n / 100) for n in (10, 25, 50)}
SECONDS = 30
"""That measuring a setting takes here."""


class Told(Listener):
    """Hears what is told."""

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[str] = []
        self.warnings: list[str] = []

    def stage(self, name: str, *progress: Any, **more: Any) -> None:
        self.stages.append(name)

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)


class Shown(str):
    """A session, which is its video's name."""

    def record_attention_for(self, methods: Iterable[Method]) -> None:
        """Any do."""


class World:
    """Videos whose names are their content, a clock that measuring moves on, and what was asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked = 0.0, list[str]()
        self.seconds_uncompressed, self.questions = 0.0, ("?",)
        self.folder, self.told = folder, Told()
        self.videos = []
        for name in ("one", "two", "three", "broken", "copy"):
            path = folder / f"{name}.mp4"
            path.write_text("one" if name == "copy" else name)
            self.videos.append(str(path))
        monkeypatch.setattr(measuring, "Baseline", self.baseline)

    def baseline(
        self, clip: str, questions: Sequence[str], options: Any, on_answer: Callable[[Any], None]
    ) -> Any:
        observations = [observed(100, 0.0) for _ in questions]
        for _ in questions:
            self.now += self.seconds_uncompressed
            half = self.seconds_uncompressed / 2
            on_answer(SimpleNamespace(seconds=SimpleNamespace(prefill=half, decode=half)))
        self.asked.append(f"{clip} none")

        def compare(method: Method) -> list[Observation]:
            self.now += SECONDS
            self.asked.append(f"{clip} {method.parameters()['retain']}")
            return [observed(10, 0.1) for _ in questions]

        return SimpleNamespace(observations=observations, compare=compare)

    @staticmethod
    def submit(ask: Ask, *, on_event: Any, work: Any, **_: Any) -> list[Any]:
        """As an engine whose videos are their names; those of the baseline, in no windows."""
        assert (ask.request.method.name, ask.compare) == ("none", True)
        [video] = ask.videos
        if "broken" in video.name:
            on_event(None, Failed(VideoError(f"{video.name} isn't a video")))
        else:
            on_event(None, Done(work(Shown(Path(video.path).stem), None)))
        return [SimpleNamespace(wait=lambda: None)]

    @staticmethod
    def digest(video: str) -> str:
        if not Path(video).exists():
            raise VideoError(f"{video} doesn't exist")
        return hashlib.sha256(Path(video).read_bytes()).hexdigest()

    @contextmanager
    def meter(self, minutes: float) -> Iterator[Meter]:
        found: Any = SimpleNamespace(identity={"name": "mini"})
        decoder: Any = SimpleNamespace(digest=self.digest)
        tuning = Tune((*self.videos, "nowhere.mp4"), self.questions, None, BUNDLED, minutes=minutes)
        engine: Any = SimpleNamespace(
            submit=self.submit, bound=lambda method: method, free=lambda: False
        )
        with open_journal(TuneJournal, self.folder / FILE) as journal:
            yield Meter(
                tuning, found, engine, SETTINGS, journal, decoder, self.told, lambda: self.now
            )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_minutes_are_kept_but_for_the_setting_under_way_and_the_rest_is_told(
    world: World,
) -> None:
    with world.meter(minutes=2) as meter:
        assert meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0) is not None
        assert not meter.cut
        assert meter.seconds_each == SECONDS
        found = meter.measure(world.videos[1], list(SETTINGS), 1.0, 1.0)
        assert found is not None
        assert list(found) == ["evs-10", "evs-25"]
        assert meter.cut
        assert 120 < world.now <= 120 + SECONDS
        asked = len(world.asked)
        assert meter.measure(world.videos[2], list(SETTINGS), 1.0, 1.0) is None
        assert len(world.asked) == asked
    assert world.told.stages[:5] == [f"tune: {n} min left" for n in (2, 2, 2, 1, 0)]
    assert world.told.stages[-1] == "tune: 0 min left"


def test_a_share_of_the_minutes_ends_a_video_but_for_its_first_setting(world: World) -> None:
    with world.meter(minutes=2) as meter:
        # Of the first setting nothing is known without: it has until 50 % of the minutes.
        assert list(meter.measure(world.videos[0], list(SETTINGS), 0.2, 0.5) or ()) == ["evs-10"]
        assert meter.measure(world.videos[1], list(SETTINGS), 0.2, 0.2) is None
        found = meter.measure(world.videos[1], list(SETTINGS), 0.5, 0.5)
        assert found is not None
        assert list(found) == ["evs-10", "evs-25"]
        assert meter.elapsed == 0.75
    assert world.asked == ["one none", "one 0.1", "two none", "two 0.1", "two 0.25"]


def test_a_run_that_was_ended_resumes(world: World) -> None:
    with world.meter(minutes=0.75) as meter:
        found = meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0)
        assert found is not None
        assert list(found) == ["evs-10", "evs-25"]
    before = set(world.asked)
    world.asked.clear()
    with world.meter(minutes=20) as meter:
        found = meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0)
        assert found is not None
        assert found.keys() == SETTINGS.keys()
    assert before == {"one none", "one 0.1", "one 0.25"}
    # What others are compared with, its distributions, isn't on disk.
    assert world.asked == ["one none", "one 0.5"]
    world.asked.clear()
    with world.meter(minutes=20) as meter:
        assert meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0) == found
        assert (meter.seconds_each, meter.cut) == (None, False)
    assert world.asked == []


def test_other_questions_and_other_contents_are_measured_anew(world: World) -> None:
    def measured() -> list[str]:
        world.asked.clear()
        with world.meter(minutes=20) as meter:
            assert meter.measure(world.videos[0], ["evs-10"], 1.0, 1.0) is not None
        return [*world.asked]

    once = ["one none", "one 0.1"]
    assert (measured(), measured()) == (once, [])
    world.questions = ("Who?",)
    assert (measured(), measured()) == (once, [])
    Path(world.videos[0]).write_text("another take")
    assert (measured(), measured()) == (once, [])


def test_a_video_without_its_first_setting_isnt_measured(world: World) -> None:
    """The uncompressed answers alone took until later than the first setting may begin."""
    world.seconds_uncompressed = 50
    with world.meter(minutes=2) as meter:
        assert meter.measure(world.videos[0], list(SETTINGS), 0.2, 0.4) is None
        assert meter.cut
        assert meter.baseline == {}
    assert world.asked == ["one none"]


def test_minutes_are_enough_where_the_journal_has_a_result(world: World) -> None:
    with world.meter(minutes=20) as meter:
        stored = meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0)
    world.seconds_uncompressed, world.now = 50, 0
    with world.meter(minutes=1) as meter:
        assert meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0) == stored
        found = meter.measure(world.videos[1], list(SETTINGS), 1.0, 1.0)
        assert found is not None
        assert list(found) == ["evs-10"]


@pytest.mark.parametrize(("questions", "minutes"), [(1, 0.5), (6, 3)])
def test_too_few_minutes_for_one_comparison_are_told_after_two_answers(
    world: World, questions: int, minutes: int
) -> None:
    """A pass takes 15 s: each question once without a setting and once with one."""
    world.seconds_uncompressed, world.questions = 15, ("?", *"abcde")[:questions]
    with world.meter(minutes=minutes) as meter:
        assert meter.measure(world.videos[0], list(SETTINGS), 1.0, 1.0) is not None
    world.asked.clear()
    world.now = 0
    with world.meter(minutes=minutes * 0.9) as meter:
        sentence = f"takes about {minutes} minutes .* give --minutes {2 * minutes:.0f} or more"
        with pytest.raises(UsageError, match=sentence):
            meter.measure(world.videos[1], list(SETTINGS), 1.0, 1.0)
    assert world.now == 15 * min(2, questions)


def test_videos_that_cant_be_read_and_copies_are_named(world: World) -> None:
    with world.meter(minutes=20) as meter:
        order = meter.order()
        assert sorted(Path(video).stem for video in order) == ["broken", "one", "three", "two"]
        assert meter.measure(world.videos[3], list(SETTINGS), 1.0, 1.0) == {}
        assert len(meter.left_out) == 3
    assert world.told.warnings == [
        f"left out: {world.videos[4]} has the content of {world.videos[0]}",
        "left out: nowhere.mp4 can't be read",
        f"left out: {world.videos[3]} isn't a video",
    ]


def test_the_order_has_nothing_to_do_with_names(world: World, tmp_path: Path) -> None:
    with world.meter(minutes=20) as meter:
        first = [Path(video).read_text() for video in meter.order()]
    contents = [Path(video).read_text() for video in world.videos]
    for video, content in zip(world.videos, reversed(contents), strict=True):
        Path(video).write_text(content)
    with world.meter(minutes=20) as meter:
        assert [Path(video).read_text() for video in meter.order()] == first
