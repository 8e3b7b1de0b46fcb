"""Measures settings on videos within the minutes of a run, and keeps what it measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dycoke_cli.compression.base import Method
from dycoke_cli.errors import VideoError
from dycoke_cli.runs.jobs import digest_of
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.plan import identity
from dycoke_cli.tuning.observation import Observation
from dycoke_cli.tuning.search import Measured
from dycoke_cli.tuning.tune_journal import TuneJournal, key_of
from dycoke_cli.tuning.tune_request import Tune
from dycoke_cli.video import Decoder

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel
    from dycoke_cli.models.resolve import ResolvedModel

BASELINE = Method.name


class Meter:
    """Measures settings on videos, each of which is encoded once; what is known isn't asked again.

    Attributes:
        left_out: videos, and why.
        baseline: observations of the uncompressed model, by video.
    """

    def __init__(
        self,
        tuning: Tune,
        found: ResolvedModel,
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
        self._decoder, self._model = decoder, identity(found)
        self._started = clock()
        self._digests: dict[str, str | None] = {}
        self.until = 1.0
        """Share of the minutes that may be used."""

    def measure(self, video: str, settings: Sequence[str]) -> Measured | None:
        """The observations of settings on a video, see `halve`; empty where it can't be read."""
        wanted = [BASELINE, *settings]
        keys = {name: self._key(video, name) for name in wanted}
        known = {name: self._journal.get(key) for name, key in keys.items()}
        if any(found is None for found in known.values()):
            if self._late():
                return None
            try:
                if not self._ask(video, keys, known):
                    return None
            except VideoError as error:
                self._leave_out(str(error))
                return {}
        self.baseline[video] = known[BASELINE] or []
        return {name: known[name] or [] for name in settings}

    def _ask(
        self, video: str, keys: Mapping[str, str], known: dict[str, list[Observation] | None]
    ) -> bool:
        from dycoke_cli.engine.session import VideoSession
        from dycoke_cli.tuning.measuring import Baseline

        clip = self._decoder.read(video, self._tuning.request.sampling)
        session = VideoSession(self._loaded, clip)
        questions = self._tuning.asked
        base = Baseline(session, questions, self._tuning.request.generation)
        for number, (name, key) in enumerate(keys.items()):
            self._listener.stage(f"tune: {self._left()}", number, len(keys))
            if known[name] is not None:
                continue
            if self._late():
                return False
            baseline = name == BASELINE
            known[name] = base.observations if baseline else base.compare(self._settings[name])
            self._journal.add(key, known[name] or [])
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
                "questions": self._tuning.asked,
                "model": self._model,
                **replace(self._tuning.request, method=method).key_parts(),
            }
        )

    def order(self) -> list[str]:
        """The videos in an order that has nothing to do with their names: by their content."""
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
