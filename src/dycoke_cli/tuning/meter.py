"""Measurement of settings on videos within a time budget, with a journal for resuming."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dycoke_cli.compression.base import Method
from dycoke_cli.errors import VideoError
from dycoke_cli.runs.jobs import digest_of
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.plan import identity
from dycoke_cli.tuning.observations import Observation, TuneJournal, key_of
from dycoke_cli.tuning.search import Measured
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.resolve import ResolvedModel

BASELINE = Method.name


class Meter:
    """Measures settings on videos; reuses the observations in the journal.

    A video is decoded and encoded once for all of its settings.

    Attributes:
        left_out: sentences about skipped videos.
        baseline: observations of the uncompressed model, by video.
    """

    def __init__(
        self,
        tuning: Tune,
        resolved: ResolvedModel,
        loaded: LoadedModel,
        settings: Mapping[str, Method],
        journal: TuneJournal,
        decoder: Decoder,
        listener: Listener,
        clock: Callable[[], float],
    ) -> None:
        self.left_out: list[str] = []
        self.baseline: dict[str, list[Observation]] = {}
        self._tuning, self._loaded, self._settings = tuning, loaded, settings
        self._journal, self._listener, self._clock = journal, listener, clock
        self._decoder, self._model = decoder, identity(resolved)
        self._started = clock()
        self._digests: dict[str, str | None] = {}
        self.until = 1.0
        """Fraction of the time limit after which no new measurement starts."""

    def measure(self, video: str, settings: Sequence[str]) -> Measured | None:
        """Measure settings on a video, see `halve`.

        Returns:
            Observations by setting, empty if the video can't be read; None if the time is up.
        """
        keys = {name: self._key(video, name) for name in (BASELINE, *settings)}
        observed = {name: self._journal.get(key) for name, key in keys.items()}
        if None in observed.values():
            # Settings that the journal has are returned even if the time is up.
            if self._late():
                return None
            try:
                if not self._measure_missing(video, keys, observed):
                    return None
            except VideoError as error:
                self._leave_out(str(error))
                return {}
        self.baseline[video] = observed[BASELINE] or []
        return {name: observed[name] or [] for name in settings}

    def _measure_missing(
        self, video: str, keys: Mapping[str, str], observed: dict[str, list[Observation] | None]
    ) -> bool:
        """Fill in the missing observations; False if the time is up before all are made."""
        from dycoke_cli.engine.session import VideoSession
        from dycoke_cli.tuning.measuring import Baseline

        clip = self._decoder.read(video, self._tuning.request.sampling)
        session = VideoSession(self._loaded, clip)
        questions = self._tuning.all_questions
        # The baseline runs even if the journal has it: settings are compared with its logits, which
        # the journal doesn't keep.
        base = Baseline(session, questions, self._tuning.request.generation)
        for number, (name, key) in enumerate(keys.items()):
            self._listener.stage(f"tune: {self._left()}", number, len(keys))
            if observed[name] is not None:
                continue
            if self._late():
                return False
            is_baseline = name == BASELINE
            new = base.observations if is_baseline else base.compare(self._settings[name])
            observed[name] = new
            self._journal.add(key, new)
        return True

    def _late(self) -> bool:
        return self._clock() - self._started > 60 * self._tuning.minutes * self.until

    def _left(self) -> str:
        left = 60 * self._tuning.minutes - (self._clock() - self._started)
        return f"{max(0, left) / 60:.0f} min left"

    def _key(self, video: str, name: str) -> str:
        if video not in self._digests:
            self._digests[video] = digest_of(video)
        method = self._settings.get(name, Method())
        return key_of(
            {
                "video": self._digests[video],
                "questions": self._tuning.all_questions,
                "model": self._model,
                **replace(self._tuning.request, method=method).key_parts(),
            }
        )

    def order(self) -> list[str]:
        """Readable videos without duplicates, ordered by a hash of their content.

        Names would group related videos, and the search and test halves are every other video.
        """
        by_content: dict[str, str] = {}
        for video in self._tuning.videos:
            digest = self._digests[video] = digest_of(video)
            if digest is None:
                self._leave_out(f"{video} can't be read")
            elif digest in by_content:
                self._leave_out(f"{video} has the content of {by_content[digest]}")
            else:
                by_content[digest] = video
        return [by_content[digest] for digest in sorted(by_content)]

    def _leave_out(self, why: str) -> None:
        self.left_out.append(f"left out: {why}")
        self._listener.warning(self.left_out[-1])
