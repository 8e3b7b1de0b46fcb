"""Kinds of paths: suffixes of videos and images, the name of stdin, entries that are folders."""

from __future__ import annotations

import os

SUFFIXES = frozenset(
    (
        ".3gp", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".m2ts",
        ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf",
        ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    )
)  # fmt: skip
"""Suffixes of videos, in lower case."""
PICTURES = frozenset(
    (".avif", ".bmp", ".jpeg", ".jpg", ".jxl", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
"""Suffixes of images, in lower case."""
STDIN = "-"
"""Path that stands for stdin."""
STDIN_NAME = "the video on stdin"
"""Name of stdin in a sentence."""


def is_video(path: str) -> bool:
    """Whether a file name has the suffix of a video."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def is_picture(path: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(path)[1].lower() in PICTURES


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is neither, and no error."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
