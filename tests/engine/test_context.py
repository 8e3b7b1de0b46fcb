"""What fits a context, against a search through all numbers, and what is said of the rest."""

import pytest

from dycoke_cli import EVS, CDPruner, DyCoke, Uncompressed, UniformSpatial, VideoSession
from dycoke_cli.compression.method import BASELINE
from dycoke_cli.engine import make_answer as answer_module
from dycoke_cli.engine.context import check_context, frames_warning, positions_warning
from dycoke_cli.errors import UsageError
from dycoke_cli.models.catalog import ClipTokens
from tests.families.sessions import loaded_of
from tests.families.stock import QUESTION, clip

KEPT = {
    Uncompressed(): lambda frames: frames * 196,
    # Of each four frames one stays whole, and 58 tokens of each other one.
    DyCoke(): lambda frames: sum(58 if frame % 4 else 196 for frame in range(frames)),
    CDPruner(retain=0.1): lambda frames: int(frames * 196 * 0.1),
    EVS(retain=0.01): lambda frames: max(196, int(frames * 196 * 0.01)),
}


@pytest.mark.parametrize("method", KEPT, ids=lambda method: method.name)
@pytest.mark.parametrize("context", [700, 4096, 32768])
@pytest.mark.parametrize("pairs", [1, 2])
def test_the_most_frames_and_the_largest_share_that_fit(method, context, pairs):
    kept = KEPT[method]
    room = context - 128 - 20
    fits = [count for count in range(1, 3600) if kept(count) <= room]
    check_context(context, ClipTokens(fits[-1], 196), fits[-1], method, 20, 128)
    if fits[-1] == 3599:
        return
    hours = ClipTokens(3600, 196)
    with pytest.raises(UsageError) as error:
        check_context(context, hours, 3600 * pairs, method, 20, 128)
    assert f"use {fits[-1] * pairs} frames or fewer" in str(error.value)
    if method.name == "cdpruner":
        shares = [n / 1000 for n in range(1, 101) if int(3600 * 196 * n / 1000) <= room]
        told = f", or --retain {shares[-1]:g} or lower" if shares else ""
        assert str(error.value).endswith(f"or fewer{told}")


def test_a_method_that_reads_all_first_has_to_have_room_for_all():
    method = UniformSpatial(retain=0.1, frames_by="question")
    check_context(4096, ClipTokens(20, 196), 20, method, 20, 128)
    with pytest.raises(UsageError, match=r"use 20 frames or fewer$"):
        check_context(4096, ClipTokens(21, 196), 21, method, 20, 128)


def test_where_no_frame_fits():
    with pytest.raises(UsageError, match=r"tokens; lower --max-tokens \(500\), or shorten the"):
        check_context(600, ClipTokens(4, 196), 4, BASELINE, 20, 500)
    with pytest.raises(
        UsageError, match=r"4 frames and 1 line of subtitles make .* or leave out --subtitles$"
    ):
        check_context(600, ClipTokens(4, 196), 4, BASELINE, 20, 100, subtitle_lines=1)


def test_the_published_merging_needs_five_frames():
    with pytest.raises(UsageError, match="use 5 frames or fewer"):
        check_context(500, ClipTokens(60, 196), 60, DyCoke(variant="published"), 0, 100)
    with pytest.raises(UsageError, match="lower --max-tokens"):
        check_context(400, ClipTokens(60, 196), 60, DyCoke(variant="published"), 0, 100)


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ((), None),
        ((4.0,), "only one frame was sampled"),
        ((0.0, 30.0, 60.0), None),
        ((0.0, 0.0, 91.0), "one frame in 46 s: "),
        (tuple(7200 / 31 * n for n in range(32)), "one frame in 232 s: "),
    ],
)
def test_frames_that_are_far_apart(times, told):
    found = frames_warning(times)
    assert found is None if told is None else (found or "").startswith(told)


def test_positions_that_no_training_had():
    assert positions_warning(2047, 2048, "mini", False) is None
    assert "--positions renumbered" in (positions_warning(2048, 2048, "mini", False) or "")
    assert "renumbered" not in (positions_warning(2048, 2048, "mini", None) or "renumbered")


def test_positions_in_time_height_and_width_are_those_that_the_decoder_got(monkeypatch):
    loaded, given, told = loaded_of("qwen2_5_vl"), [], []
    monkeypatch.setattr(answer_module, "positions_warning", lambda *known: told.append(known))

    def note(module, args, kwargs):
        given.append(int(kwargs["position_ids"][-3:].max()))

    hook = loaded.model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        VideoSession(loaded, clip(8)).ask(
            QUESTION, DyCoke(prune_layer=2, positions="kept"), max_tokens=3
        )
    finally:
        hook.remove()
    # The first call encodes the video alone.
    assert told == [(max(given[1:]), loaded.context_length, "qwen2_5_vl", None)]
