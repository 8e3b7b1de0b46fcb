"""The model class that lmms-eval calls; the only module that imports lmms-eval."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any, Self

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from loguru import logger
from tqdm import tqdm

from dycoke_cli import plugins
from dycoke_cli.ask import Ask, Footage
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.supported import check_decoder
from dycoke_cli.errors import DycokeError, UsageError, error_of
from dycoke_cli.evaluation.method_row import method_on
from dycoke_cli.loop.in_windows import check_windows
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.plan import plan_of
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.request import Request
from dycoke_cli.resources import usable_cpus
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling
from dycoke_lmms_eval.arguments import in_arguments, parse, speaking_of_arguments, split
from dycoke_lmms_eval.generation import read_generation, up_to
from dycoke_lmms_eval.messages import Chat, Message, Shown, read_chat


@dataclass(frozen=True)
class _Question:
    """A request that was understood."""

    where: str  # what a sentence calls it
    chat: Chat  # the conversation with its videos
    generation: GenerationOptions  # how the answer is generated
    stops: tuple[str, ...]  # texts that end it


class DycokeChat(lmms):
    """`lmms-eval --model dycoke`: questions about one video each, answered as by `dycoke eval`."""

    is_simple = False

    def __init__(
        self,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        **given: Any,
    ) -> None:
        super().__init__()
        for problem in plugins.problems:
            logger.warning(problem)
        self.accelerator = Accelerator()
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        if max_batch_size is not None:
            raise UsageError("max_batch_size isn't supported; --batch_size N is the most")
        with speaking_of_arguments():
            self._arguments = arguments = parse(_placed(given, device, self.accelerator))
            found = resolve_model(arguments.model, arguments.loading)
            sampling = arguments.spec.sampled(arguments.sampling)
            self._blind = sampling is None
            most, spec = arguments.budget.video_tokens, arguments.spec
            request = Request(
                model=arguments.model,
                loading=arguments.loading,
                sampling=sampling or arguments.sampling,
                # In windows the default of positions depends on each video.
                method=method_on(found, spec) if most is None else spec.create(),
                generation=arguments.generation,
                video_tokens=most,
            )
            check_windows(request)
            self._plan = plan_of(request, found, batch_size=_together(batch_size))
            method = settled(self._plan.request.method, self._loaded.info)
            check_decoder(self._loaded.model.get_decoder(), method)

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Make one of `--model_args` as they were written, and of the flags of lmms-eval."""
        given: dict[str, Any] = {**split(arg_string)}
        flags = {k: v for k, v in (additional_config or {}).items() if v is not None}
        for name in given.keys() & flags.keys():
            raise UsageError(f"{name} is a flag, --{name}, here; leave it out of --model_args")
        return cls(**given, **flags)

    @cached_property
    def _loaded(self) -> LoadedModel:
        return load(self._arguments.model, **asdict(self._arguments.loading))

    @property
    def device(self) -> torch.device:
        """Where lmms-eval makes the tensors by which processes agree."""
        return self.accelerator.device

    def clean(self) -> None:
        """Make room for what lmms-eval loads next; the model is loaded again if it is asked."""
        self.__dict__.pop("_loaded", None)
        super().clean()

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not supported."""
        raise UsageError(
            "dycoke generates answers, and doesn't score given ones; choose a task whose "
            "output_type is generate_until"
        )

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers, in the order of the requests."""
        return self._answers([self._read(request) for request in requests])

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """The answers of all rounds; each round is asked of all requests that have it.

        Raises: see `generate_until`.
        """
        answers: list[list[str]] = [[] for _ in requests]
        told: list[Any] = [None] * len(requests)
        asked = {number: self._read(request) for number, request in enumerate(requests)}
        while asked:
            for number, result in zip(asked, self._answers([*asked.values()]), strict=True):
                answers[number].append(result.text)
            following: dict[int, _Question] = {}
            for number in asked:
                request, so_far = requests[number], answers[number]
                payload = request.args[1](
                    self._doc(request),
                    round_idx=len(so_far),
                    previous_output=[*so_far],
                    previous_round_info=told[number],
                )
                # As in lmms-eval's own models, a task without anything more to ask ends it.
                if isinstance(payload, tuple) and len(payload) == 4 and not payload[1]:
                    told[number] = payload[3]
                    following[number] = self._read(request, payload[0])
            asked = following
        return answers

    def _doc(self, request: Instance) -> Any:
        doc_id, task, split_ = request.args[3:]
        return self.task_dict[task][split_][doc_id]

    def _read(self, request: Instance, messages: Sequence[Message] | None = None) -> _Question:
        """The request, understood; `messages` are those of a later round."""
        _, doc_to_messages, gen_kwargs, doc_id, task, _ = request.args
        where = f"{task}, question {doc_id}"
        try:
            if messages is None:
                messages = doc_to_messages(self._doc(request))
            chat = read_chat(messages or ())
            if self._blind:
                chat = replace(chat, video=None)
            usual, checkpoint = self._arguments.generation, self._loaded.model.generation_config
            return _Question(where, chat, *read_generation(gen_kwargs, usual, checkpoint))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error

    def _answers(self, questions: Sequence[_Question]) -> list[GenerationResult]:
        self._check_videos(questions)
        started = time.perf_counter()
        lines: dict[int, dict[str, Any]] = {}
        with tqdm(total=len(questions), desc="Questions", disable=self.rank != 0) as bar:
            for generation in dict.fromkeys(question.generation for question in questions):
                lines |= self._lines(questions, generation, bar)
        self._report([*lines.values()], time.perf_counter() - started)
        return [_result(lines[number], question.stops) for number, question in enumerate(questions)]

    def _check_videos(self, questions: Sequence[_Question]) -> None:
        """Open all videos: better now than after hours."""
        videos = {q.chat.video: q.where for q in questions if q.chat.video is not None}

        def check(video: Shown) -> None:
            try:
                with Decoder() as decoder, decoder.open(video.path, self._sampling(video)):
                    pass
            except DycokeError as error:
                raise type(error)(in_arguments(f"{videos[video]}: {error}")) from error

        with ThreadPoolExecutor(usable_cpus()) as threads:
            for _ in threads.map(check, videos):
                pass

    def _sampling(self, video: Shown) -> Sampling:
        return replace(self._plan.request.sampling, start_s=video.start_s, end_s=video.end_s)

    def _lines(
        self, questions: Sequence[_Question], generation: GenerationOptions, bar: Any
    ) -> dict[int, dict[str, Any]]:
        """The answers of those questions that are generated so, by the questions' numbers."""
        asked: dict[Shown | None, list[Ask]] = {}
        for number, question in enumerate(questions):
            if question.generation == generation:
                ask = self._ask(str(number), question.chat, generation)
                asked.setdefault(question.chat.video, []).append(ask)
        found: dict[int, dict[str, Any]] = {}
        request, size = self._plan.request, self._plan.batch_size
        with Engine(request, loaded=self._loaded, batch_size=size) as engine:
            for ask, event in engine.answers(asked.values()):
                outcome = Outcome.of(ask, event)
                number = int(outcome.line["id"])
                if outcome.failed:
                    code, message = outcome.line["error"].values()
                    where = questions[number].where
                    raise error_of(code, in_arguments(f"{where}: {message}"))
                found[number] = outcome.line
                bar.update()
        return found

    def _ask(self, number: str, chat: Chat, generation: GenerationOptions) -> Ask:
        request = replace(self._plan.request, generation=generation)
        if chat.video is None:
            nothing = Footage("", "")
            ask = Ask(chat.question, request, (nothing,), chat.history, blind=True, id=number)
        else:
            request = replace(request, sampling=self._sampling(chat.video))
            video = Footage(chat.video.path, chat.video.path, chat.video.path)
            ask = Ask(chat.question, request, (video,), chat.history, id=number)
        return self._plan.with_defaults(ask)

    def _report(self, lines: Sequence[Mapping[str, Any]], seconds: float) -> None:
        """Into the log and the results of lmms-eval: warnings, speed, and what was kept."""
        for warning in dict.fromkeys(one for line in lines for one in line["warnings"]):
            logger.warning(in_arguments(warning))
        lines = [line for line in lines if line["tokens"] is not None]
        if not lines:
            return
        generated = sum(line["tokens"]["generated"] for line in lines)
        means = {
            name.replace("visual", "visual_tokens"): fmean(line["tokens"][name] for line in lines)
            for name in _COUNTED
        }
        log_metrics(seconds, generated, generated / seconds, means)


# Keys of an answer's `tokens`, whose means are in the results of lmms-eval.
_COUNTED = ("visual", "visual_kept", "visual_active_in_decode")


def _placed(
    given: Mapping[str, Any], device: str | None, accelerator: Accelerator
) -> dict[str, Any]:
    """The arguments with the device that accelerate gives this process."""
    placed = {**given, **({} if device is None else {"device": device})}
    if accelerator.num_processes == 1:
        return placed
    # Some versions of accelerate number the processor, too.
    own = str(accelerator.device).replace("cpu:0", "cpu")
    if placed.get("device", own) not in ("auto", own) or "device_map" in placed:
        raise UsageError(
            "accelerate gives each of several processes a device of its own; leave out device and "
            "device_map"
        )
    return {**placed, "device": own}


def _together(batch_size: int | str) -> int | None:
    """What `--batch_size` says; None is auto."""
    if batch_size == "auto":
        return None
    if not str(batch_size).isdecimal():
        raise UsageError(f"--batch_size must be auto, or 1 or more, not {batch_size!r}")
    return int(batch_size)


def _result(line: Mapping[str, Any], stops: tuple[str, ...]) -> GenerationResult:
    tokens, text = line["tokens"], up_to(stops, line["answer"])
    read = TokenCounts(tokens["text"] + tokens["visual_kept"], tokens["generated"])
    return GenerationResult(text, read)
