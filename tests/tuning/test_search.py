"""Successive halving on made-up observations."""

import random
from dataclasses import replace

from dycoke_cli.answer.answer import Certainty
from dycoke_cli.tuning.search import (
    Observation,
    best_half,
    cheapest_setting,
    guard_base,
    halve,
    pareto_front,
    summarize,
)


def observed(read, divergence, same=True):
    return Observation("?", "!", same, divergence, Certainty(0.9, 0.8, -0.1), 100, read, read, 1.0)


def world(seed=0):
    """Settings that read 10 to 90 tokens of 100, the more the closer; every other one is worse."""
    rng = random.Random(seed)
    settings = {}
    for read in range(10, 100, 10):
        settings[f"good-{read}"] = (read, (100 - read) / 1000)
        settings[f"bad-{read}"] = (read, (100 - read) / 200)

    def measure(video, names, share):
        return {
            name: [
                observed(read, much * rng.uniform(0.8, 1.2), rng.random() > 4 * much)
                for read, much in [settings[name]] * 4
            ]
            for name in names
        }

    return list(settings), measure


def test_halving_keeps_what_nothing_beats():
    settings, measure = world()
    left, measured = halve(settings, [f"v{n}" for n in range(16)], measure, target=0.9)
    assert len(left) < len(settings) / 2
    assert all(name.startswith("good") for name in left)
    assert len(measured) == 16
    found = cheapest_setting([summarize(name, measured) for name in left], 0.9)
    assert found is not None
    assert found.cost < 1


def test_time_that_is_up_ends_the_search_with_whole_videos():
    settings, measure = world()
    calls = iter(range(100))
    left, measured = halve(
        settings, "abcdefgh", lambda *asked: None if next(calls) == 3 else measure(*asked), 0.9
    )
    assert len(measured) == 3
    assert all(set(left) <= set(video) for video in measured)


def test_with_little_time_few_settings_are_compared_on_all_videos():
    """Each comparison takes 1, and there is time for 20, of the 225 without a limit."""
    settings = [f"s{n:03}" for n in range(100)]
    now, asked = 0, []

    def within(video, names, share):
        nonlocal now
        done = {}
        for name in names:
            if done and now >= 20 * share:
                break
            now += 1
            asked.append((video, name))
            done[name] = [observed(50, 0.1 + int(name[1:]) / 1000)]
        return done

    left, measured = halve(settings, "abcdef", within, target=0.9)
    assert len(measured) == 6
    assert now <= 20
    # Half of the time goes to the first video: of the settings, the first ones.
    on_first = [name for video, name in asked if video == "a"]
    assert on_first == settings[: len(on_first)]
    assert 8 <= len(on_first) <= 10
    assert left == ["s000"]
    assert all(name in video for name in left for video in measured)


def test_shares_of_the_time_by_hand():
    """16 settings and their baseline on one video, 8 on the next, 4 on two: 17 + 9 + 5 + 5."""
    shares, compared = [], []

    def measure(video, names, share):
        shares.append(share)
        compared.append(len(names))
        return {name: [observed(50, 0.1)] for name in names}

    halve([str(n) for n in range(16)], "abcd", measure, target=0.9, least=1)
    assert shares == [17 / 36, 26 / 36, 31 / 36, 1]
    assert compared == [16, 8, 4, 4]


def test_a_video_that_cant_be_read_doesnt_count():
    settings, measure = world()
    _, measured = halve(
        settings, "abc", lambda v, *more: {} if v == "b" else measure(v, *more), 0.9
    )
    assert len(measured) == 2


def test_the_front_by_hand():
    videos = [{"a": [observed(10, 0.5)], "b": [observed(20, 0.6)], "c": [observed(30, 0.1)]}]
    results = [summarize(name, videos) for name in "abc"]
    assert [one.setting for one in pareto_front(results)] == ["a", "c"]
    assert best_half("abc", videos, 0.0, least=1) == ["c", "a"]  # best first


def test_what_cant_reach_the_target_goes_first():
    videos = [{"cheap": [observed(1, 0.1, same=False)] * 4, "dear": [observed(90, 0.2)] * 4}] * 40
    assert best_half(["cheap", "dear"], videos, 0.9, least=1) == ["dear"]


def test_what_isnt_refuted_isnt_hopeless():
    """13 of 20 answers are the same, and 60 % are asked for: that is refuted by 200 alone."""
    videos = [
        {"cheap": [observed(1, 0.1, same=n >= 7)], "dear": [observed(90, 0.2)]} for n in range(20)
    ]
    assert best_half(["dear", "cheap"], videos, 0.6, least=1) == ["cheap"]
    assert best_half(["dear", "cheap"], videos * 10, 0.8, least=1) == ["dear"]


def test_none_is_chosen_where_none_agrees():
    videos = [{"a": [observed(10, 0.5, same=False), observed(10, 0.5)]}]
    only = summarize("a", videos)
    assert only.agreement == 0.5
    assert cheapest_setting([only], 0.98) is None
    assert cheapest_setting([only], 0.5) == only
    assert guard_base([only]) == only


def test_the_cheapest_that_agrees_is_chosen_and_a_guard_counts_what_it_asks_again():
    """Of 10, 30 and 50 tokens, where 5, 1 and 0 of ten answers changed."""
    changed = {"small": (10, 5), "middle": (30, 1), "large": (50, 0)}
    video = {
        name: [observed(read, 0.1, same=n >= lost) for n in range(10)]
        for name, (read, lost) in changed.items()
    }
    small, middle, large = (summarize(name, [video]) for name in changed)
    assert cheapest_setting([large, middle, small], 0.9) == middle
    assert cheapest_setting([large, middle, small], 0.95) == large
    assert cheapest_setting([large, middle, small], 0.5) == small
    # 10 + 50, 30 + 10 and 50 of a hundred.
    assert guard_base([large, middle, small]) == middle
    closer = replace(middle, setting="closer", divergence=0.05)
    assert cheapest_setting([middle, closer], 0.9) == guard_base([middle, closer]) == closer
