"""Encode once, ask many: a video with a model, and the answers to questions about it."""

from __future__ import annotations

from collections.abc import Callable

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.asking import Asked, ask_together
from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.engine.encode import Encoded, encode_video
from dycoke_cli.engine.expected_memory import memory_warning
from dycoke_cli.engine.prefix import VideoPrefix
from dycoke_cli.engine.prompts import Prompt
from dycoke_cli.engine.stopwatch import Stopwatch
from dycoke_cli.engine.visual_cache import VisualCache, key_of
from dycoke_cli.errors import UsageError
from dycoke_cli.models.loading import LoadedModel
from dycoke_cli.models.prompt import Frames, Turns, VideoPrompt, make_prompt
from dycoke_cli.result import Answer

Progress = Callable[[str, int, int], None]


class VideoSession:
    """Questions about one video, which is encoded at the first question, and read but once.

    Attributes:
        video: what the stock processor made of it.

    Args:
        loaded: the model.
        clip: the frames.
        on_progress: called with (stage, done, total); stages are "vision" (frames), "prefill"
            and "decode" (tokens).
        seconds_load: how long the model took to load, for the report.
        seconds_video_decode: how long the frames took to decode; part of the first answer's time.
        reuse: whether keys and values of the video are kept for the next question, which then
            costs only its own text; one that comes alone has no use for them.
        cache: of encoded videos on disk, or None.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        clip: Frames,
        on_progress: Progress | None = None,
        *,
        seconds_load: float | None = None,
        seconds_video_decode: float = 0.0,
        reuse: bool = True,
        cache: VisualCache | None = None,
    ) -> None:
        self.loaded = loaded
        self.clip = clip
        self.seconds_load = loaded.seconds_load if seconds_load is None else seconds_load
        self._seconds_video_decode = seconds_video_decode
        self.on_progress = on_progress or (lambda stage, done, total: None)
        self.video: VideoPrompt = make_prompt(
            loaded.processor, loaded.family, loaded.model.config, clip
        )
        self._encoded: dict[tuple[float, ...], Encoded] = {}
        self._prefix = VideoPrefix() if reuse else None
        self._cache = cache if loaded.identity else None

    def ask(
        self,
        question: str,
        method: Method,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        trace: bool = False,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: what to leave out.
            max_new_tokens: at most this many tokens are written.
            temperature: 0 is greedy; above, tokens are drawn.
            seed: of the draw; None takes a fresh one, which is reported.
            on_text: called with each stretch of the answer as it is written.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            trace: take down what each decoding step looked at, for `Answer.trace`.

        Raises:
            UsageError: a combination that isn't supported (a trace of a method without decode
                pruning, too), or a prompt longer than the model's context (with the number of
                frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        decoding = Decoding(max_new_tokens, temperature, seed, trace)
        return ask_together([Asked(self, question, history)], method, decoding, on_text)[0]

    def prompt(
        self, question: str, history: Turns, method: Method, decoding: Decoding
    ) -> Callable[[], Prompt]:
        """The prompt of a question, made when it is called for: then the video must be encoded.

        Raises:
            UsageError: it is longer than the model's context.
        """
        input_ids = self.video.input_ids(question, history)
        self._check_fits(input_ids.shape[1], method, decoding.max_new_tokens)

        def make() -> Prompt:
            video = self._encoded[_merging(method)]
            family, config = self.loaded.family, self.loaded.model.config
            beside = self.video.beside(input_ids, family.rope)
            placeholders = family.placeholders(config, input_ids, beside)
            return Prompt(input_ids, beside, placeholders, video)

        return make

    def encode(self, watch: Stopwatch, method: Method) -> dict[str, float]:
        """Encode the video unless that is done; return its seconds, by keys of `result.Seconds`.

        Raises:
            UsageError: the method merges before vision, which the model's family can't.
        """
        if _merging(method) in self._encoded:
            return {"video_decode": 0.0, "vision": 0.0}
        started = watch.read()
        self._encoded[_merging(method)] = self._encode(method)
        return {"video_decode": self._seconds_video_decode, "vision": watch.read() - started}

    def _encode(self, method: Method) -> Encoded:
        loaded, merging = self.loaded, method.before_vision()

        def encode() -> Encoded:
            return encode_video(
                loaded.model,
                loaded.family,
                self.video,
                lambda done, total: self.on_progress("vision", done, total),
                merging,
            )

        # What merging leaves of a video isn't kept on disk: it depends on the method as well.
        if self._cache is None or merging is not None:
            return encode()
        key = key_of(loaded.identity or {}, self.video.inputs)
        found = self._cache.get(key, loaded.input_device)
        if found is None:
            found = encode()
            self._cache.put(key, found)
        return found

    def prefix_of(self, method: Method) -> VideoPrefix | None:
        """What was read of the video; None where a method wants that to be off the device."""
        pruning = method.pruning()
        return None if pruning is not None and pruning.dp_cache != "device" else self._prefix

    def memory_warning(self, question: str, method: Method, history: Turns = ()) -> str | None:
        """A sentence where the answer will hardly fit on the device; None where it will.

        Args: as of `ask`.
        """
        text = self.video.input_ids(question, history).shape[1] - self.video.visual
        method = method.suited(self.loaded.method_defaults)
        return memory_warning(self.loaded, self.video, method, text)

    def _check_fits(self, length: int, method: Method, max_new_tokens: int) -> None:
        context, prompt = self.loaded.context_length, self.video
        room = context - max_new_tokens - (length - prompt.visual)

        def visual(frames: int) -> int:
            # Positions that count tokens and are kept run on over the gaps, up to the uncompressed
            # length.
            if self.loaded.family.counts_tokens and not method.renumbers():
                return frames * prompt.tokens_per_frame
            return method.kept_tokens(frames, prompt.tokens_per_frame)

        if visual(prompt.frames) <= room:
            return
        fits = next((f for f in range(prompt.frames - 1, 0, -1) if visual(f) <= room), 0)
        fits = fits * len(self.clip.timestamps_s) // prompt.frames
        advice = (
            f"use --frames {fits} or fewer"
            if fits
            else f"lower --max-new-tokens ({max_new_tokens}) or shorten the question"
        )
        raise UsageError(
            f"{len(self.clip.timestamps_s)} frames make a prompt longer than the model's context "
            f"of {context} tokens; {advice}"
        )


def _merging(method: Method) -> tuple[float, ...]:
    """What tells one way of encoding from another: nothing for that of whole frames."""
    merging = method.before_vision()
    return () if merging is None else merging.parameters
