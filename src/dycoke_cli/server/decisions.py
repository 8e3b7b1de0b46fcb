"""`/v1/decisions` (OpenAI's) and `/v1/systemone`: typed questions about one input, and the replies.

A body becomes a request of chat completions without its last message, and decisions, each of which
is that message with options. All are asked about the same videos, which are read and prefilled
once. The probabilities are those of `dycoke ask --yes-no`, `--choices` and `--score`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import mul
from typing import Any

from typing_extensions import override

from dycoke_cli import Answer, Ask, GenerationOptions, Request, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.server.chat import ChatRequest, Reply, asked
from dycoke_cli.server.messages import content_of
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import usage
from dycoke_cli.server.request_body import too_large
from dycoke_cli.server.request_keys import (
    ASSET,
    CHOICE,
    DECISIONS,
    LEVEL,
    PARTS,
    QUESTION,
    SYSTEM_ONE,
    SYSTEM_ONE_QUESTION,
    Keys,
    list_of,
    object_of,
    text_of,
)
from dycoke_cli.unicode import display_name

_MOST_QUESTIONS = 400
_MOST_BYTES = 1 << 24  # of the text of all questions, each of which repeats that of the input


@dataclass(frozen=True)
class Decision:
    """A typed question, and what its reply calls it and its options."""

    kind: str  # predicate, choice or score
    name: str | None
    question: str  # behind the text of the input
    typed: TypedOptions
    values: tuple[Any, ...]  # of the options, in their order

    def ask(self, about: Ask) -> Ask:
        """The question about the videos, behind the text and the history of an input."""
        generation = GenerationOptions(max_tokens=1, typed=self.typed)
        request = replace(about.request, generation=generation)
        return replace(about, question=about.question + self.question, request=request)

    def told(self, answer: Answer) -> dict[str, Any]:
        """The answer as `/v1/decisions` has it."""
        assert isinstance(answer.probabilities, dict), "typed questions are answered by options"
        shares = [answer.probabilities[text] for text in self.typed.texts]
        head = {"type": self.kind, "name": self.name}
        if self.kind == "predicate":
            return {**head, "probability": shares[0]}
        even, best = 1 / len(shares), max(shares)
        pairs = zip(self.values, shares, strict=True)
        if self.kind == "choice":
            return {
                **head,
                "choice": self.values[shares.index(best)],
                # how far it is above equal shares
                "confidence": max(0.0, (best - even) / (1 - even)),
                "probabilities": [{"value": value, "probability": p} for value, p in pairs],
            }
        away = [abs(level - shares.index(best)) for level in range(len(shares))]
        # of equal shares, from the middle
        usual = even * sum(abs(level - (len(shares) - 1) / 2) for level in range(len(shares)))
        return {
            **head,
            "score": sum(level * p for level, p in enumerate(shares)),
            # how much closer the levels are to the likeliest one
            "confidence": max(0.0, 1 - sum(map(mul, away, shares)) / usual),
            "probabilities": [
                {"value": level, "label": label, "probability": p}
                for level, (label, p) in enumerate(pairs)
            ],
        }


_Option = tuple[Any, str, str]  # value in the reply, text, and description


def read_decisions(body: Any, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body of `/v1/decisions`."""
    given = DECISIONS.object(body, "")
    listed = enumerate(list_of(given.get("questions"), "questions"))
    decisions = [_decision(one, f"questions[{number}]") for number, one in listed]
    shown = given.get("input")
    messages = [_message(shown)] if isinstance(shown, str) else list_of(shown, "input")
    request = _about(given, "input", messages, decisions, (defaults, most_frames))
    return replace(request, reply=partial(DecisionsReply, decisions=decisions))


def read_systemone(body: Any, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body of `/v1/systemone`."""
    given = SYSTEM_ONE.object(body, "")
    named = object_of(given.get("questions"), "questions")
    decisions = [_named(name, one) for name, one in named.items()]
    assets = object_of(given.get("assets") or {}, "assets")
    parts = [_asset(one, f"assets.{_shown(name)}") for name, one in assets.items()]
    state = given.get("state")
    if content := _content_of_state(state):
        parts += content
    elif state not in (None, "", {}, [], *assets):  # that name one is the picture itself
        parts.append(_text_part(_text(state, "state")))
    request = _about(given, "state", [_message(parts)], decisions, (defaults, most_frames))
    return replace(request, reply=partial(SystemOneReply, decisions=decisions))


def _about(
    given: Mapping[str, Any],
    listed: str,
    messages: Sequence[Any],
    decisions: Sequence[Decision],
    server: tuple[Request, int],
) -> ChatRequest:
    """The request of an input; its question is the text before that of each decision."""
    if not 1 <= len(decisions) <= _MOST_QUESTIONS:
        raise Refused(f"there must be 1 to {_MOST_QUESTIONS} questions", "questions")
    first, count = decisions[0].question, len(decisions)
    request = asked({**given, listed: [*messages, _message(first)]}, *server, listed)
    before = request.question.removesuffix(first)
    if not (request.videos or before.strip() or request.history):
        raise Refused(f"{listed} is empty: put a video or a text there", listed)
    if len(before.encode()) * count > _MOST_BYTES:
        raise too_large(
            f"the text of the input would be read {count} times: send fewer questions at once",
            "questions",
        )
    return replace(request, question=before)


def _message(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def _text(given: Any, path: str) -> str:
    """A text; JSON as its text."""
    text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    return text_of(text, path).strip()


def _decision(given: Any, path: str) -> Decision:
    """A question of `/v1/decisions`."""
    question = QUESTION.object(given, path)
    kind, instructions = question.get("type"), question.get("instructions")
    name = question.get("name")
    if name is not None:
        text_of(name, f"{path}.name")
    parts = content_of(instructions, f"{path}.instructions")
    if not all(isinstance(part, str) for part in parts):
        raise Refused(
            f"{path}.instructions has a picture or a video: put it into the input, which all "
            "questions are about",
            f"{path}.instructions",
        )
    instructions = "\n".join(map(str, parts))
    options: list[_Option] = []
    if kind == "predicate":
        options = [(True, "yes", ""), (False, "no", "")]
    elif kind == "choice":
        options = _options(question, path, "choices", CHOICE, "value")
    elif kind == "score":
        options = _options(question, path, "levels", LEVEL, "label")
    else:
        raise Refused(f"{path}.type must be predicate, choice or score", f"{path}.type")
    return _typed(kind, name, instructions, options, path)


def _options(
    question: Mapping[str, Any], path: str, listed: str, keys: Keys, named: str
) -> list[_Option]:
    """The options of a list of objects."""
    found = []
    for number, given in enumerate(list_of(question.get(listed), f"{path}.{listed}")):
        at = f"{path}.{listed}[{number}]"
        option = keys.object(given, at)
        value, about = option.get(named), option.get("description") or ""
        is_flag = isinstance(value, bool) and named == "value"
        text = str(value).lower() if is_flag else text_of(value, f"{at}.{named}")
        found.append((value, text, text_of(about, f"{at}.description")))
    return found


def _named(name: str, given: Any) -> Decision:
    """A question of `/v1/systemone`."""
    path = f"questions.{_shown(name)}"
    question = SYSTEM_ONE_QUESTION.object(given, path)
    kind, criteria = question.get("type"), question.get("criteria")
    at = f"{path}.criteria"
    options: list[tuple[Any, str, Any]]
    if kind in ("noul", "bool"):
        about = object_of({} if criteria is None else criteria, at)
        options = [(True, "yes", about.get("true")), (False, "no", about.get("false"))]
        kind = "predicate"
    elif kind == "choice":
        options = [(one, one, about) for one, about in object_of(criteria, at).items()]
    elif kind == "score":
        options = [(level, _text(level, at), None) for level in list_of(criteria, at)]
    else:
        raise Refused(f"{path}.type must be noul, choice or score", f"{path}.type")
    described = [(value, text, _text(about or "", at)) for value, text, about in options]
    instructions = _text(question.get("instructions") or "", f"{path}.instructions")
    return _typed(kind, name, instructions, described, path)


def _typed(
    kind: str, name: str | None, instructions: str, options: Sequence[_Option], path: str
) -> Decision:
    """A question with its options; those that are described are explained behind its text."""
    instructions = instructions.strip()
    if not instructions:
        raise Refused(f"{path}.instructions must say what is asked", f"{path}.instructions")
    try:
        typed = TypedOptions(tuple(text for _, text, _ in options))
    except UsageError as error:
        raise Refused(f"{path}: {error}", path) from error
    described = [f"{text}: {about}" for _, text, about in options if about]
    if kind == "predicate" and "?" not in instructions:
        instructions = f'Is this true: "{instructions.removesuffix(".")}"? Answer yes or no.'
    question = "\n".join((instructions, *described))
    return Decision(kind, name, question, typed, tuple(value for value, _, _ in options))


def _content_of_state(state: Any) -> list[Any]:
    """The parts of a state that is the content of a message; empty of any other one."""
    parts = state if isinstance(state, list) else [state]
    if not any(isinstance(part, dict) and str(part.get("type")) in PARTS for part in parts):
        return []
    return [_text_part(part) if isinstance(part, str) else part for part in parts]


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _shown(name: str) -> str:
    return display_name(name)[:100]


def _asset(given: Any, path: str) -> dict[str, Any]:
    """A picture or a video of `assets` as a part of a message."""
    asset = ASSET.object(given, path)
    kind = asset.get("type")
    if kind not in ("image", "video"):
        raise Refused(f"{path}.type must be image or video", f"{path}.type")
    data = text_of(asset.get("data_base64"), f"{path}.data_base64")
    form = display_name(text_of(asset.get("format"), f"{path}.format"))
    return {"type": f"{kind}_url", f"{kind}_url": f"data:{kind}/{form};base64,{data}"}


@dataclass(frozen=True)
class DecisionsReply(Reply):
    """The reply to one request to `/v1/decisions`."""

    decisions: Sequence[Decision]  # what is asked

    @property
    @override
    def longest(self) -> str:
        questions = [decision.question for decision in self.decisions]
        return self.request.question + max(questions, key=len)

    @override
    def asks(self, about: Ask) -> list[Ask]:
        return [decision.ask(about) for decision in self.decisions]

    def whole(self, *answers: Answer) -> dict[str, Any]:
        """The object of all answers."""
        pairs = zip(self.decisions, answers, strict=True)
        told = [decision.told(answer) for decision, answer in pairs]
        return {"model": self.model, "answers": self._listed(told), "usage": self._usage(answers)}

    def _listed(self, told: list[dict[str, Any]]) -> Any:
        return told

    def _usage(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Tokens of all questions; those that an earlier one had prefilled are cached."""
        found = [usage(answer) for answer in answers]
        read = sum(one["prompt_tokens"] for one in found)
        cached = sum(one["prompt_tokens_details"]["cached_tokens"] for one in found)
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": read,
            "dycoke": [one["dycoke"] for one in found],
        }


class SystemOneReply(DecisionsReply):
    """The reply to one request to `/v1/systemone`."""

    def _listed(self, told: list[dict[str, Any]]) -> Any:
        return {str(answer.pop("name")): _by_option(answer) for answer in told}


def _by_option(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of `/v1/decisions` in the form of System One."""
    if answer["type"] == "predicate":
        return {"type": "noul", "noul": answer["probability"]}
    each = answer["probabilities"]
    if answer["type"] == "score":
        answer["legend"] = {str(one["value"]): one["label"] for one in each}
    return answer | {"probabilities": {str(one["value"]): one["probability"] for one in each}}
