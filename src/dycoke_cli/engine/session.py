"""Questions about videos, answered alone or in one batch; encode once, ask many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from dycoke_cli.answer.answer import Answer, Scoring
from dycoke_cli.answer.json_schema import BoundsError
from dycoke_cli.compression.method import BASELINE, Method
from dycoke_cli.compression.registry import DEFAULT, METHODS
from dycoke_cli.engine.attach import Attachment, attach, check_unattached
from dycoke_cli.engine.chunked_prefill import PrefixCache
from dycoke_cli.engine.context import answer_room, check_text_alone
from dycoke_cli.engine.encoded_video import EncodedVideo
from dycoke_cli.engine.explaining import faults_of
from dycoke_cli.engine.generate import (
    NOBODY,
    Generated,
    PeakMemory,
    Pieces,
    Receiver,
    Stopwatch,
    generate,
    seconds_at_decoder,
)
from dycoke_cli.engine.generation_options import (
    GenerationOptions,
    TokenOptions,
    TypedOptions,
    end_tokens,
)
from dycoke_cli.engine.grammar_mask import FormedAnswer, vocabulary_of
from dycoke_cli.engine.make_answer import make_answer
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_answer import asked_alone, generate_typed, spellings_of, with_choice
from dycoke_cli.engine.vision import Batch, inject_videos, together, without_video
from dycoke_cli.errors import UsageError, check_kind
from dycoke_cli.models.devices import working_devices
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.chat import Turns, text_ids
from dycoke_cli.param import checks_keywords
from dycoke_cli.stock.forward import can_be_wrapped


def is_asked_alone(
    session: EncodedVideo, methods: Sequence[Method], options: GenerationOptions
) -> bool:
    """Whether a question can't be one of a batch, or is answered sooner alone."""
    loaded = session.loaded
    return (
        # Sampling depends on the rest of a batch, and a seed is to repeat an answer.
        options.temperature > 0
        or _is_penalized(loaded.model.generation_config, options)
        # Attention inside the language model selects tokens for a single sequence.
        or any(method.inside() or method.reads_before for method in methods)
        or _must_be_alone(session, options)
        or options.trace is not None
        or len(session.clips) > 1
        # What was computed of the video is of one sequence.
        or session.is_prefilled
    )


def _must_be_alone(session: EncodedVideo, options: GenerationOptions) -> bool:
    return (
        # Which rows of a stock processor's inputs belong to which prompt is known to that model
        # alone. What is left of windows has a length of its own.
        session.loaded.family.stock_inputs
        or session.windowed is not None
        or (options.typed is not None and asked_alone(session.loaded))
    )


def _is_penalized(own: object, options: GenerationOptions) -> bool:
    """Whether a repetition penalty sees the padding of a batch."""
    given = None if options.tokens is None else options.tokens.repetition_penalty
    penalty = getattr(own, "repetition_penalty", None) if given is None else given
    return penalty not in (None, 1.0)


@dataclass(frozen=True)
class Question:
    """A question about a video."""

    session: EncodedVideo  # the video, with its model
    question: str  # plain text
    history: Turns = ()  # what was asked about the video before, and what was answered
    receiver: Receiver = NOBODY  # gets the answer while the batch is generated
    max_tokens: int | None = None  # of this answer; None for those of the options


def ask_together(
    questions: Sequence[Question],
    method: Method,
    options: GenerationOptions | None = None,
) -> list[Answer]:
    """Answer questions in one batch, each with its own selection of tokens.

    Greedy answers are those that each question gets alone (in float32 to the letter; in less,
    rounding may tip a close call). Each is streamed to its receiver, and complete when it ends; its
    times are until then.

    Args:
        method: the compression method; it is settled for the model here.
        options: how to generate; None for the defaults.
    """
    options = options or GenerationOptions()
    loaded = questions[0].session.loaded
    if any(item.session.loaded is not loaded for item in questions):
        raise UsageError("questions that are asked together need one model")
    typed = options.typed
    if len(questions) > 1 and any(_must_be_alone(item.session, options) for item in questions):
        return [ask_together([one], method, options)[0] for one in questions]
    check_unattached(loaded.model)
    watch = Stopwatch(loaded.input_device)
    with faults_of(loaded):
        method = settled(method, loaded.info)
        if typed is not None:
            what = spellings_of(loaded, typed)
            longest = max(len(ids) for spelling in what for ids in spelling.ids)
            most = max(options.max_tokens, longest)
            options = replace(options, max_tokens=most)
        # Lengths are checked here, before a video is encoded for nothing. The prompts themselves
        # are made behind that: they take the embeddings along.
        limits = [
            q.session.limit(q.question, q.history, method, q.max_tokens or options.max_tokens)
            for q in questions
        ]
        formed = _formed(loaded, options, limits)
        prompts = [
            q.session.prompt(q.question, q.history, method, replace(options, max_tokens=limit))
            for q, limit in zip(questions, limits, strict=True)
        ]
    peak = PeakMemory(working_devices(loaded.model), loaded.working_weights_bytes)
    tokenizer, report = loaded.processor.tokenizer, questions[0].session.on_progress
    # A prefix is of one video: the prompts of a batch needn't begin with the same tokens.
    prefix = questions[0].session.prefix if len(questions) == 1 else None
    if prefix is not None:
        prefix.reused = 0  # also by a method that prefills in one pass
    with faults_of(loaded):
        seconds = [item.session.encode(watch, method) for item in questions]
        batch = together([make() for make in prompts], tokenizer.pad_token_id or 0)
        report("prefill", 0, 1)
        whole = None if batch.preselection is None else batch.preselection.length
        windows = questions[0].session.windows_of(batch)
        answers: dict[int, Answer] = {}
        scored: dict[int, Scoring] = {}

        def finish(number: int, generated: Generated) -> None:
            item = questions[number]
            if loaded.family.stock_inputs:
                # It encoded the video as well: the vision side is taken out of the prefill.
                times = generated.seconds
                started = times["first_token"] - times["prefill"]
                times["vision"] = decoder_began[0] - started
                times["prefill"] -= times["vision"]
            if applied is not None:
                generated.stats = applied.stats[number].until(len(generated.tokens) - 1)
                if applied.recorder is not None:
                    pieces = map(Pieces(tokenizer).add, generated.tokens.tolist())
                    generated.trace = applied.recorder.trace(pieces)
            answer = make_answer(
                item.question,
                loaded,
                method,
                item.session.clips,
                generated,
                [video.visual for video in item.session.videos],
                prompt_tokens=whole or int(batch.mask[number].sum()),
                seconds={"load": item.session.seconds_load, **seconds[number]},
                total=watch.read(),
                peak=peak.read(),
                session_warnings=item.session.warnings(item.question, method, item.history),
                reused=prefix.reused if prefix is not None else 0,
                windows=windows,
            )
            if typed is not None:
                on_text = item.receiver.on_text
                answer = with_choice(answer, typed, scored[number], on_text)
            answers[number] = answer = _parsed(answer, options)
            item.receiver.on_answer(answer)

        # The clock's hook is the first one: what a method's own does before the decoder is prefill.
        with (
            seconds_at_decoder(loaded.model, watch) as decoder_began,
            _applied(questions, batch, method, options, prefix) as applied,
        ):
            if typed is None:
                generate(
                    loaded.model,
                    tokenizer,
                    batch,
                    options,
                    watch,
                    receivers=[item.receiver for item in questions],
                    limits=limits,
                    on_token=lambda n: report("decode", n, max(limits)),
                    on_generated=finish,
                    formed=formed,
                )
            else:
                outputs, scores = generate_typed(loaded, batch, what, watch, applied)
        if typed is not None:
            scored.update(enumerate(scores))
            for number, output in enumerate(outputs):
                finish(number, output)
    return [answers[number] for number in range(len(questions))]


def ask_without_video(
    loaded: LoadedModel,
    question: str,
    history: Turns = (),
    options: GenerationOptions | None = None,
    on_text: Callable[[str], None] | None = None,
    on_token: Callable[[int], None] | None = None,
) -> Answer:
    """Answer a question that no video is shown with.

    Args: as of `Question` and `GenerationOptions`; `on_text` as of `Receiver`; `on_token` is called
        with the number of tokens at each.
    """
    receiver = Receiver(on_text)
    options = options or GenerationOptions()
    typed, tokenizer = options.typed, loaded.processor.tokenizer
    watch = Stopwatch(loaded.input_device)
    peak = PeakMemory(working_devices(loaded.model), loaded.working_weights_bytes)
    with faults_of(loaded):
        ids = text_ids(loaded.processor, question, history)
        read, context = ids.shape[1], loaded.context_length
        most = answer_room(context, options.max_tokens, read)
        check_text_alone(context, read, most)
        batch = without_video(ids)
        if typed is not None:
            what = spellings_of(loaded, typed)
            [generated], [scores] = generate_typed(loaded, batch, what, watch, None)
        else:
            formed = _formed(loaded, options, [most])
            [generated] = generate(
                loaded.model,
                tokenizer,
                batch,
                options,
                watch,
                receivers=[receiver],
                limits=[most],
                on_token=on_token,
                formed=formed,
            )
    answer = make_answer(
        question,
        loaded,
        BASELINE,
        [],
        generated,
        visual=[],
        prompt_tokens=ids.shape[1],
        seconds={"load": loaded.seconds_load, "video_decode": 0.0, "vision": 0.0},
        total=watch.read(),
        peak=peak.read(),
    )
    if typed is None:
        return _parsed(answer, options)
    # The prompt is the blind one already, by which nothing can be divided.
    return with_choice(answer, typed, scores, on_text)


def _formed(
    loaded: LoadedModel, options: GenerationOptions, limits: Sequence[int]
) -> list[FormedAnswer]:
    """The beginning of each answer in its form; none where answers are free text.

    Args:
        limits: tokens of each answer at most.
    """
    form = options.structured
    if form is None:
        return []
    vocabulary = vocabulary_of(loaded, form, end_tokens(loaded.model))
    # Compiled once: a large form takes a second.
    first = FormedAnswer(vocabulary, form)
    return [first, *(first.copy() for _ in limits[1:])]


def _parsed(answer: Answer, options: GenerationOptions) -> Answer:
    """The answer with its JSON value, where its form is JSON."""
    form = options.structured
    if form is None or form.kind != "json":
        return answer
    try:
        return replace(answer, parsed=form.value(answer.answer))
    except BoundsError as error:
        raise UsageError(f"the answer can't be read: {error}; limit it in the schema") from error


@contextmanager
def _applied(
    questions: Sequence[Question],
    batch: Batch,
    method: Method,
    options: GenerationOptions,
    prefix: PrefixCache | None,
) -> Iterator[Attachment | None]:
    """Within the block, `generate()` sees the videos of a batch by a method.

    The baseline keeps all tokens. It decodes and prefills as a method does, so that a comparison is
    of the method alone.

    Args:
        prefix: what was prefilled of the video before, or None.

    Returns:
        The attachment; None of a model that takes none.
    """
    session = questions[0].session
    loaded, family = session.loaded, session.loaded.family
    with ExitStack() as stack:
        if not family.stock_inputs:
            stack.enter_context(inject_videos(loaded.model, batch.videos, batch.placeholders))
        takes_methods = not family.only_none and can_be_wrapped(loaded.model.get_decoder())
        if method.name == "none" and not takes_methods:
            yield None
            return
        attachment = attach(
            loaded.model,
            method,
            trace=options.trace,
            prefix=prefix,
            videos=() if family.stock_inputs else batch.videos,
            flat=loaded.kernels == "fast",
            frames=session.video.frames if family.needs_frame_count else None,
            preselection=batch.preselection,
            decodes=options.typed is None,
        )
        yield stack.enter_context(attachment)


class VideoSession(EncodedVideo):
    """Answers questions about a video, one after the other."""

    @checks_keywords
    def ask(
        self,
        question: str,
        method: Method | None = None,
        *,
        on_text: Callable[[str], None] | None = None,
        history: Turns = (),
        max_tokens: int = 128,
        temperature: float = 0.0,
        seed: int | None = None,
        trace: int | None = None,
        typed: TypedOptions | None = None,
        structured: StructuredOutput | None = None,
        tokens: TokenOptions | None = None,
    ) -> Answer:
        """Answer a question.

        Args:
            question: plain text.
            method: the compression method, which is settled for the model here; None is `DyCoke()`.
            on_text: called with each stretch of the answer as it is generated.
            history: earlier questions about the video with their answers, which the model reads
                before this one.
            max_tokens: and the others: fields of `GenerationOptions`.

        Raises:
            UsageError: a combination that isn't supported, or a prompt longer than the model's
                context (with the number of frames that fits).
            OutOfMemoryError: with the flag that helps.
        """
        options = GenerationOptions(max_tokens, temperature, seed, trace, typed, structured, tokens)
        check_kind(question, str, "a question is one text")
        if not question.strip():
            raise UsageError("a question is empty")
        if on_text is not None and not callable(on_text):
            raise UsageError(f"on_text takes a function of one text, not {on_text!r:.60}")
        if not isinstance(history, tuple | list) or any(
            not isinstance(turn, tuple | list) or [*map(type, turn)] != [str, str]
            for turn in history
        ):
            raise UsageError(
                f"history takes pairs of a question and its answer, not {history!r:.60}"
            )
        questions = [Question(self, question, history, Receiver(on_text))]
        return ask_together(questions, METHODS[DEFAULT]() if method is None else method, options)[0]
