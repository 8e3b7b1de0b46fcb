"""Clips of something else: of all sources, moving, and different each time."""

from __future__ import annotations

import sys

import numpy as np

from training.world import out_of_domain


def test_a_clip_is_that_of_its_seed() -> None:
    for seed in range(8):
        a, b, c = (
            out_of_domain.out_of_domain_clip(6, 48, np.random.default_rng(s))
            for s in (seed, seed, -~seed)
        )
        assert a.shape == (6, 48, 48, 3)
        assert a.dtype == np.uint8
        assert (a == b).all()
        assert (a != c).any()
    assert out_of_domain.out_of_domain_clip(1, 32, np.random.default_rng(0)).shape == (1, 32, 32, 3)


def test_every_source_gives_pictures_with_something_on_them() -> None:
    for source in set(out_of_domain.SOURCES):
        for seed in range(3):
            picture = np.asarray(source(np.random.default_rng(seed)), dtype=float)
            assert picture.ndim == 3
            assert picture.shape[2] == 3
            assert picture.std() > 2, source


def test_most_clips_move() -> None:
    clips = [
        out_of_domain.out_of_domain_clip(4, 48, np.random.default_rng(s)).astype(float)
        for s in range(20)
    ]
    changes = np.array([np.abs(np.diff(c, axis=0)).mean() for c in clips])
    assert (changes > 1).mean() > 0.7


def test_without_scikit_image_the_procedural_ones_serve(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    out_of_domain._pictures.cache_clear()
    try:
        assert out_of_domain._pictures() == []
        for seed in range(10):
            assert out_of_domain.out_of_domain_clip(2, 32, np.random.default_rng(seed)).std() > 0
    finally:
        out_of_domain._pictures.cache_clear()
