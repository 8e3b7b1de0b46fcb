"""All subjects, in the order of the table."""

from __future__ import annotations

from . import files, texts, videos
from .subject import Subject

SUBJECTS: list[Subject] = [*videos.SUBJECTS, *texts.SUBJECTS, *files.SUBJECTS]
