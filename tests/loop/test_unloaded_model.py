"""What is done before a model is loaded, by what is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dycoke_cli.ask import Progress
from dycoke_cli.compression.registry import create
from dycoke_cli.errors import ContextError
from dycoke_cli.loop.in_windows import why_not_in_windows
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.reading import Reading
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.catalog import find
from dycoke_cli.models.families import UNLISTED
from dycoke_cli.video.clip import FramePlan, VideoInfo
from tests.documents import example
from tests.loop.asking import REQUEST, Asking
from tests.waiting import until


@pytest.mark.parametrize(("local", "stage"), [(True, "load"), (False, "fetch")])
def test_a_video_that_was_read_waits_for_a_model_that_is_loaded_or_downloaded(
    asking: Asking, local: bool, stage: str
) -> None:
    seen = list[Any]()
    # Of a model of which nothing is known: others' frames wait for the size that it takes.
    unloaded = UnloadedModel("mini", local, None)
    with asking.engine(loaded=None, unloaded=unloaded) as engine:
        engine.submit(asking.ask("one"), on_event=lambda _, event: seen.append(event))
        until(lambda: Progress(stage) in seen, 60)


def test_frames_of_a_family_outside_the_table_are_kept_as_they_are_decoded(asking: Asking) -> None:
    """Until the model is loaded, nothing tells to which size they are resized."""
    reading = Reading(asking.ask("one"), decoded=False, urgent=True)
    for family in (asking.pretended.info.family, UNLISTED):
        asking.pretended.info = replace(asking.pretended.info, family=family)
        before, after = asking.engine(loaded=None), asking.engine()
        assert (before._fit_of(reading) is None) == (family is UNLISTED)
        assert after._fit_of(reading) is not None


def test_a_run_in_windows_begins_once_the_model_is_loaded(asking: Asking) -> None:
    """What it keeps of a video is settled later: a method may not be one for all videos."""
    request = replace(REQUEST, method=create("evs"), video_tokens=60)
    with Engine(request, load=lambda fit: asking.pretended.load()) as engine:
        engine.begin_run()
        assert engine.loaded is not None


def test_windows_are_refused_where_the_known_context_has_no_room(asking: Asking) -> None:
    info = replace(asking.pretended.info, context=100)
    plan = FramePlan(
        (0.0, 1.0),
        384,
        384,
        example(VideoInfo, path="a.mp4", variable_rate=False, frame_count=2),
        (),
    )
    unknown = UnloadedModel("mini", True, info)
    unknown.check_room(plan, 100)
    known = replace(unknown, source=find("llava-onevision-0.5b"))
    known.check_room(plan, 5)
    with pytest.raises(ContextError, match="--max-tokens 100 leaves no room for the video"):
        known.check_room(plan, 100)


def test_a_question_is_answered_from_windows_unless_it_is_compared() -> None:
    request = replace(REQUEST, method=create("evs"), video_tokens=60)
    assert why_not_in_windows(request) is None
    assert "--compare asks about all tokens" in str(why_not_in_windows(request, whole=True))
    assert "takes one video" in str(why_not_in_windows(request, 2))
