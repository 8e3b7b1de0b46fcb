"""Progress of `dycoke caption`, and what it has written."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dycoke_cli.answer.caption import words
from dycoke_cli.cli.render.batch_view import BatchView
from dycoke_cli.cli.render.units import count, counted
from dycoke_cli.unicode import display_name, one_line


class CaptionView(BatchView):
    """View of a run that writes captions."""

    def __init__(self, quiet: bool) -> None:
        super().__init__(quiet)
        self._left_out = self._unanswered = 0

    def checked(
        self,
        name: str,
        sentences: Sequence[str],
        probabilities: Sequence[float | None],
        left_out: Collection[int],
    ) -> None:
        """Show the sentences of a caption with the probabilities that they are true.

        Args:
            left_out: places of those that aren't in the caption.
        """
        for i, (sentence, probability) in enumerate(zip(sentences, probabilities, strict=True)):
            share = "?" if probability is None else f"{100 * probability:.0f}"
            end = " (left out)" if i in left_out else ""
            self.note(f"{display_name(name)}: {share} % {one_line(sentence.strip())}{end}")
            self._unanswered += probability is None
        self._left_out += len(left_out)

    def dry(self, number: int, prompt: str) -> None:
        """Say what a run would do."""
        self.stop()
        self.note(f"{counted(number, 'caption')} would be written; the prompt: {one_line(prompt)}")

    def ended_early(self, number: int) -> None:
        """Say how many captions are written, and how to resume."""
        self.stop()
        if number:
            self.note(f"{counted(number, 'caption')} written; the same command resumes")

    def ended(
        self,
        written: Sequence[tuple[str, str]],
        where: str,
        *,
        skipped: int,
        edited: int,
        failed: int,
    ) -> None:
        """Say what was written, and what wasn't.

        Args:
            written: captions, and the names of their videos.
            where: they are, in words.
            skipped: videos that had a caption.
            edited: captions that were edited, and stay.
            failed: videos without a caption.
        """
        self.stop()
        parts = [f"{counted(len(written), 'caption')} written {where}".rstrip()]
        if skipped:
            hint = "" if written else "; --overwrite makes new ones"
            parts.append(f"{count(skipped)} skipped (there is a caption{hint})")
        parts += [f"{count(edited)} edited and kept (--overwrite-edited)"] if edited else []
        parts += [f"{count(failed)} failed"] if failed else []
        if self._left_out:
            parts.append(f"{counted(self._left_out, 'sentence')} left out")
        if self._unanswered:
            parts.append(
                f"{counted(self._unanswered, 'sentence')} unchecked (the model says neither yes "
                "nor no)"
            )
        lengths = sorted((len(words(text)), name) for text, name in written)
        if lengths:
            (short, briefest), (long, longest) = lengths[0], lengths[-1]
            parts.append(
                f"longest {counted(long, 'word')} ({display_name(longest)}), "
                f"shortest {count(short)} ({display_name(briefest)})"
            )
        self.note(", ".join(parts))
