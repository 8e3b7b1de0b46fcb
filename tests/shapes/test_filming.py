"""How clips are filmed: labels, camera, walls, noise, and the encoder's loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import GLYPHS, LABELS, TEXTURES, Camera, Event, Scene
from tests.shapes.pixels import centre, mask, one_thing, wall
from training.batches import through_encoder
from training.world.random_scripts import draw_script


def test_dynamic_clips_change_more_from_frame_to_frame_than_mixed_and_static_ones() -> None:
    changes: dict[str, list[float]] = {label: [] for label in LABELS}
    times = np.linspace(0, 1, 32)
    i = 0
    while min(map(len, changes.values())) < 8:
        script = draw_script([i, 55], "train")
        i += 1
        if len(changes[script.label]) < 8:
            frames = render(script, times, 48).astype(float)
            change = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))
            # Cuts change everything, whatever the label.
            scene = np.searchsorted([s.begin for s in script.scenes], times, side="right")
            changes[script.label].append(float(np.median(change[np.diff(scene) == 0])))
    assert max(changes["static"]) < 4
    assert min(changes["dynamic"]) > 5
    static, mixed, dynamic = (np.mean(changes[label]) for label in LABELS)
    assert 2 * static < mixed
    assert 1.5 * mixed < dynamic


def test_the_wall_runs_past_a_camera_that_pans() -> None:
    times = np.array([0.2, 0.25])
    for seed in range(4):
        moving = wall(texture="clouds", seed=seed, camera=Camera((1.5, -2.0), 0.0, 0.0, 24))
        a, b = render(moving, times, 64)[..., 0].astype(float)
        # The shift is where the two pictures' cross-correlation is highest.
        spectrum = np.fft.fft2(b - b.mean()) * np.conj(np.fft.fft2(a - a.mean()))
        y, x = np.unravel_index(np.fft.ifft2(spectrum).real.argmax(), (64, 64))
        expected = np.array([1.5, -2.0]) * 0.05 * 64 % 64
        assert np.abs((np.array([x, y]) - expected + 32) % 64 - 32).max() <= 1


def test_a_shaken_camera_shakes_things_within_bounds() -> None:
    still = one_thing()
    shaken = replace(still, camera=Camera((0.0, 0.0), 0.02, 0.0, 24))
    times = np.linspace(0, 1, 40)
    off = np.array([centre(mask(f, "red")) for f in render(shaken, times, 128)]) - 0.5
    assert 0.008 < off.std() < 0.02
    assert np.abs(off).max() < 0.035
    assert np.abs(centre(mask(render(still, times[:1], 128)[0], "red")) - 0.5).max() < 0.005


@pytest.mark.parametrize("level", [3.0, 10.0])
def test_noise_is_as_strong_as_it_says_and_that_of_its_moment(level: float) -> None:
    noisy = wall(camera=Camera((0.0, 0.0), 0.0, level, 24))
    frames = render(noisy, np.array([0.1, 0.2, 0.3]), 96).astype(float)
    assert frames.std() == pytest.approx(level, rel=0.05)
    correlation = np.corrcoef(frames[0].ravel(), frames[1].ravel())[0, 1]
    assert abs(correlation) < 0.03
    alone = render(noisy, np.array([0.2]), 96)
    assert (alone[0] == frames[1]).all()
    other = replace(noisy, seed=noisy.seed + 1)
    assert (render(other, np.array([0.2]), 96)[0] != frames[1]).any()


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize(("tone", "low", "high"), [("black", 16, 36), ("gray", 128, 148),
                                                    ("white", 220, 240)])  # fmt: skip
def test_walls_keep_their_tone_and_contrast_and_join_up(texture, tone, low, high) -> None:
    frame = render(wall(tone, texture, seed=3), np.array([0.0]), 96)[0].astype(float)
    assert frame.min() >= low - 1 - 3 * (texture == "clouds")
    assert frame.max() <= high + 1 + 3 * (texture == "clouds")
    assert (np.ptp(frame) > 8) == (texture != "plain")
    inner = np.abs(np.diff(frame, axis=1)).mean(0).max()
    joint = np.abs(frame[:, 0] - frame[:, -1]).mean(0).max()
    assert joint <= np.abs(np.diff(frame, axis=1)).mean((0, 2)).max() + 1 or joint <= inner + 1


def needle(glyph: str, cell=(1, 1)) -> tuple:
    script = wall("gray", "clouds", camera=Camera((0.0, 0.0), 0.0, 5.0, 35))
    return replace(script, events=(Event("show", 0.3, 0.6, cell=cell, glyph=glyph),))


def template(glyph: str, side: int) -> np.ndarray:
    """The glyph drawn by Pillow alone, then scaled down: [side, side]."""
    font = ImageFont.load_default(round(520 * 0.25 / 0.27))
    picture = Image.new("L", (520, 520), 255)
    ImageDraw.Draw(picture).text((260, 260), glyph, fill=0, font=font, anchor="mm", stroke_width=8)
    return np.asarray(picture.resize((side, side), Image.Resampling.BOX), dtype=float)


def test_every_card_can_be_read_after_the_encoder() -> None:
    """Nearest of all glyphs as Pillow draws them, at 64 px, at the worst quality, with noise."""
    side = round(0.27 * 64)
    drawn = {g: template(g, side)[2:-2, 2:-2] for g in GLYPHS}
    for glyph in GLYPHS:
        frames = render(needle(glyph), np.linspace(0.35, 0.55, 5), 64)
        frame = through_encoder(frames, 35)[2].astype(float).mean(-1)
        left = round(0.5 * 64 - side / 2)
        card = frame[left : left + side, left : left + side][2:-2, 2:-2]
        alike = {g: np.corrcoef(card.ravel(), d.ravel())[0, 1] for g, d in drawn.items()}
        assert max(alike, key=lambda g: alike[g]) == glyph


def test_a_card_is_there_for_its_time_and_at_its_place() -> None:
    script = replace(needle("7", (2, 0)), camera=Camera((0.0, 0.0), 0.0, 0.0, 24))
    before, shown, after = render(script, np.array([0.29, 0.31, 0.61]), 128)
    assert (before == after).all()
    rows, columns = np.nonzero((shown != before).any(-1))
    assert abs(columns.mean() / 128 - 0.8) < 0.02
    assert abs(rows.mean() / 128 - 0.2) < 0.02
    assert 0.25 < np.ptp(rows) / 128 < 0.29


def test_the_encoder_loses_more_at_higher_numbers() -> None:
    script = draw_script([7, 55], "train")
    frames = render(script, np.linspace(0, 1, 6), 64)
    losses = []
    for quality in (0, 18, 30, 40):
        coded = through_encoder(frames, quality)
        assert coded.shape == frames.shape
        assert coded.dtype == np.uint8
        losses.append(np.abs(coded.astype(float) - frames).mean())
    assert losses == sorted(losses)
    assert losses[0] < 5 < losses[0] + losses[3]


def test_scenes_have_walls_of_their_own() -> None:
    scenes = (
        Scene(0.0, 0.5, "black", "plain", 20.0, 1),
        Scene(0.5, 1.0, "white", "plain", 20.0, 2),
    )
    frames = render(wall(scenes=scenes), np.array([0.0, 0.499, 0.5, 1.0]), 32)
    assert [int(f.mean()) for f in frames] == [16, 16, 240, 240]
