"""All subjects, in the order of the table."""

from __future__ import annotations

from . import files, models, texts, videos
from .subject import Subject

SUBJECTS: list[Subject] = [*videos.SUBJECTS, *texts.SUBJECTS, *models.SUBJECTS, *files.SUBJECTS]
