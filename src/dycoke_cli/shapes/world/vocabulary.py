"""What there is in the world of moving shapes, by name."""

from __future__ import annotations

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
TONES = ("black", "gray", "white")
TEXTURES = ("plain", "stripes", "checks", "clouds")
# Direction on the picture: (x, y), y downwards.
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
DIGITS = tuple("0123456789")
# None of them is a letter of an option (A to D), and all differ at a dozen pixels' height.
LETTERS = tuple("EFHKMRTX")
GLYPHS = DIGITS + LETTERS
# What can happen. "show" is the needle: a digit or letter on a card.
DEEDS = (
    "enter", "leave", "move", "bounce", "spin", "grow", "shrink", "hit", "hide", "turn", "show",
)  # fmt: skip
LABELS = ("static", "mixed", "dynamic")
# Whom the subtitles speak of.
NAMES = ("Anna", "Ben", "Cleo", "Dan")
CELL_CENTRES = (0.2, 0.5, 0.8)
