"""All subjects, in the order of the table."""

from __future__ import annotations

from tests.fuzzing import files, foreign, models, strangers, texts, videos
from tests.fuzzing.subject import Subject

SUBJECTS: list[Subject] = [
    *videos.SUBJECTS,
    *texts.SUBJECTS,
    *models.SUBJECTS,
    *files.SUBJECTS,
    *foreign.SUBJECTS,
    *strangers.SUBJECTS,
]
