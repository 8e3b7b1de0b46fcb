"""`/v1/decisions` and `/v1/systemone`: what a body asks, its replies, and errors in both forms."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import openai
import pytest
from openai.types import DecisionCreateParams
from openai.types.decision import Decision as Reply

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Ask
from dycoke_cli.engine.generation_options import TypedOptions
from dycoke_cli.server.chat import ChatRequest, Reader, parse
from dycoke_cli.server.decisions import Decision, read_decisions, read_systemone
from dycoke_cli.server.exchange import _cautions, check_text
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import DECISIONS
from tests.documents import example
from tests.server.pretended import DEFAULTS, VIDEO, Running
from tests.server.requests import MOST

SHOWN = {"type": "video_url", "video_url": {"url": VIDEO}}
YES_NO = TypedOptions.yes_no()
STAR = {"type": "predicate", "name": "star", "instructions": "Is there a star?"}
COLOUR = {"type": "choice", "instructions": "Which colour, red or blue?",
          "choices": [{"value": "red"}, {"value": "blue"}]}  # fmt: skip
COUNT = {"type": "score", "name": "many", "instructions": "How many?",
         "levels": [{"label": "1"}, {"label": "2"}, {"label": "3"}]}  # fmt: skip
NAMED = {
    "star": {"type": "noul", "instructions": "Is there a star?"},
    "colour": {"type": "choice", "instructions": "Which colour, red or blue?",
               "criteria": {"red": None, "blue": None}},
    "many": {"type": "score", "instructions": "How many?", "criteria": ["1", "2", "3"]},
}  # fmt: skip


def read_by(reader: Reader, **body: Any) -> tuple[ChatRequest, Sequence[Decision]]:
    request = parse(json.dumps(body).encode(), DEFAULTS, MOST, reader)
    return request, request.reply("mini", request).decisions


def read(given: Any, *questions: Any, **more: Any) -> tuple[ChatRequest, Sequence[Decision]]:
    return read_by(read_decisions, input=given, questions=questions, **more)


def read_named(state: Any, questions: Any, **more: Any) -> tuple[ChatRequest, Sequence[Decision]]:
    return read_by(read_systemone, state=state, questions=questions, **more)


def user(*parts: Any) -> list[Any]:
    return [{"role": "user", "content": [*parts]}]


def text(words: str) -> dict[str, Any]:
    return {"type": "input_text", "text": words}


def test_both_forms_ask_the_same() -> None:
    request, decisions = read(user(SHOWN), STAR, COLOUR, COUNT)
    other, named = read_named([SHOWN], NAMED)
    assert request == other
    assert (request.question, request.history, len(request.videos)) == ("", (), 1)
    assert [one.question for one in decisions] == [
        "Is there a star?", "Which colour, red or blue?", "How many?"
    ]  # fmt: skip
    assert [one.typed for one in decisions] == [
        YES_NO, TypedOptions(("red", "blue")), TypedOptions(("1", "2", "3"))
    ]  # fmt: skip
    assert [(one.question, one.typed) for one in named] == [
        (one.question, one.typed) for one in decisions
    ]


def test_the_text_of_an_input_stands_before_each_question() -> None:
    data = {"type": "input_json", "data": {"place": "café"}}
    given = [
        {"role": "developer", "content": "Be strict."},
        *user(SHOWN, text("A clip.")),
        {"role": "assistant", "content": "I see."},
        *user(data),
    ]
    request, decisions = read(given, STAR, COLOUR)
    assert request.history == (("Be strict.\n\nA clip.", "I see."),)
    assert request.question == '{"place": "café"}\n'
    ask = Ask(request.question, DEFAULTS)
    assert [one.ask(ask).question for one in decisions] == [
        '{"place": "café"}\nIs there a star?',
        '{"place": "café"}\nWhich colour, red or blue?',
    ]
    assert decisions[0].ask(ask).request.generation.typed == YES_NO
    assert read("A clip.", STAR)[0].question == "A clip.\n"
    # The last one of the conversation may be the assistant, whose answer is judged.
    judged = read([*user(text("Hello?")), {"role": "assistant", "content": "No."}], STAR)[0]
    assert (judged.history, judged.question) == ((("Hello?", "No."),), "")


@pytest.mark.parametrize(
    ("state", "question"),
    [
        ("A clip.", "A clip.\n"),
        ({"place": "café"}, '{"place": "café"}\n'),
        (["a", 1], '["a", 1]\n'),
        ([SHOWN, "A clip."], "A clip.\n"),
        (SHOWN, ""),
    ],
    ids=str,
)
def test_a_state(state: Any, question: str) -> None:
    request, _ = read_named(state, NAMED)
    assert request.question == question
    assert len(request.videos) == (SHOWN in ([state] if state == SHOWN else list(state)))


def test_assets_are_pictures_and_videos() -> None:
    picture = {"type": "image", "format": "png", "data_base64": "AAAA"}
    film = {"type": "video", "format": "mp4", "data_base64": "AAAA"}
    request, _ = read_named({"photo": "img"}, NAMED, assets={"img": picture, "film": film})
    assert request.question == '{"photo": "img"}\n'
    first, second = request.videos
    assert first.pictures == ("data:image/png;base64,AAAA",)
    assert second.url == VIDEO
    assert read_named("film", NAMED, assets={"film": film})[0].question == ""


def test_descriptions_are_explained_to_the_model() -> None:
    [choice] = read("x", COLOUR | {"choices": [{"value": True, "description": "It is red."},
                                               {"value": "blue"}]})[1]  # fmt: skip
    assert choice.question == "Which colour, red or blue?\ntrue: It is red."
    assert choice.values == (True, "blue")
    criteria = {"true": {"any": "star"}, "false": "none"}
    [noul] = read_named("x", {"a": NAMED["star"] | {"criteria": criteria}})[1]
    assert noul.question == 'Is there a star?\nyes: {"any": "star"}\nno: none'
    [level] = read("x", COUNT | {"levels": [{"label": "few", "description": "1 or 2"},
                                            {"label": "many"}]})[1]  # fmt: skip
    assert level.question == "How many?\nfew: 1 or 2"


def test_a_statement_becomes_a_question() -> None:
    [decision] = read("x", STAR | {"instructions": [text("There is a star.")]})[1]
    assert decision.question == 'Is this true: "There is a star"? Answer yes or no.'


def answer(typed: TypedOptions, *shares: float) -> Answer:
    return example(Answer, probabilities=dict(zip(typed.texts, shares, strict=True)))


def test_replies_of_the_client_of_openai() -> None:
    request, decisions = read("x", STAR, COLOUR, COUNT)
    typed = [one.typed for one in decisions]
    answers = (answer(typed[0], 0.9, 0.1), answer(typed[1], 0.25, 0.75),
               answer(typed[2], 0.5, 0.3, 0.2))  # fmt: skip
    document = json.loads(json.dumps(request.reply("mini", request).whole(*answers)))
    reply = Reply.model_validate(document, strict=True)
    star, colour, count = reply.answers
    assert star.type == "predicate"
    assert (star.name, star.probability) == ("star", 0.9)
    assert colour.type == "choice"
    assert (colour.name, colour.choice, colour.confidence) == (None, "blue", 0.5)
    assert [(one.value, one.probability) for one in colour.probabilities] == [
        ("red", 0.25), ("blue", 0.75)
    ]  # fmt: skip
    assert count.type == "score"
    assert math.isclose(count.score, 0.7)
    assert [(one.label, one.value) for one in count.probabilities] == [
        ("1", 0), ("2", 1), ("3", 2)
    ]  # fmt: skip
    assert reply.usage.total_tokens == reply.usage.input_tokens
    assert reply.usage.output_tokens == 0
    assert reply.usage.output_tokens_details.reasoning_tokens == 0


def test_replies_of_system_one_are_those_of_transformers() -> None:
    """Its own code reads the same questions, and makes the same answers of the probabilities."""
    module = pytest.importorskip("transformers.decision", reason="transformers before 5.24")
    request, decisions = read_named("x", NAMED)
    shares = ([0.9, 0.1], [0.25, 0.75], [0.5, 0.3, 0.2])
    answers = [answer(one.typed, *each) for one, each in zip(decisions, shares, strict=True)]
    reply = request.reply("mini", request).whole(*answers)
    assert (reply["model"], reply["usage"]["output_tokens"]) == ("mini", 0)
    for question, each in zip(
        module.parse_questions(NAMED, module.DecisionConfig()), shares, strict=True
    ):
        expected, own = question.answer(each), reply["answers"][question.name]
        assert own.keys() == expected.keys()
        for key, value in expected.items():
            assert own[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_no_key_of_the_openai_package_is_unread() -> None:
    ignored = {"prompt_cache_key", "prompt_cache_options", "safety_identifier"}
    assert DecisionCreateParams.__annotations__.keys() - ignored <= DECISIONS.read
    request, _ = read("x", STAR, **dict.fromkeys(ignored, "x"))
    assert {*request.ignored} == ignored
    [warning] = _cautions(request)
    assert "have no effect: " in warning


@pytest.mark.parametrize(
    ("question", "sentence", "name"),
    [
        (STAR | {"type": "noul"}, "must be predicate, choice or score", "questions[0].type"),
        (STAR | {"instructions": " "}, "must say what is asked", "questions[0].instructions"),
        (STAR | {"instructions": [SHOWN]}, "has a picture or a video: put it into the input",
         "questions[0].instructions"),
        (COLOUR | {"choices": [{"value": "red"}]}, "two options or more", "questions[0]"),
        (COLOUR | {"choices": [{"value": 3}, {"value": "a"}]}, "must be a text",
         "questions[0].choices[0].value"),
        (COLOUR | {"choices": [{"value": "true"}, {"value": True}]}, "given 2 times",
         "questions[0]"),
        (COUNT | {"levels": None}, "must be a list", "questions[0].levels"),
        (COUNT | {"levels": [{"label": "x" * 9000}, {"label": "y" * 9000}]},
         "18000 characters together", "questions[0]"),
        (COLOUR | {"choices": [{"value": str(n)} for n in range(300)]},
         "300 options are more than the 256 allowed", "questions[0]"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)  # fmt: skip
def test_what_is_refused_is_named(question: Any, sentence: str, name: str) -> None:
    with pytest.raises(Refused, match=sentence) as caught:
        read("x", question)
    assert (caught.value.status, caught.value.parameter) == (400, name)


def test_a_body_that_is_refused() -> None:
    for given, questions, sentence in (
        ("x", [], "1 to 400 questions"),
        ("x", [STAR] * 401, "1 to 400 questions"),
        ("x", NAMED, "questions must be a list"),
        ([{"type": "function_call", "name": "f"}], [STAR], "the role of a message"),
        ("x" * 60_000, [STAR] * 400, "would be read 400 times"),
    ):
        with pytest.raises(Refused, match=sentence):
            read_by(read_decisions, input=given, questions=questions)
    for state, named, sentence in (
        ("x", [STAR], "questions must be an object"),
        ("x", {"a": {"type": "box"}}, "questions.a.type must be noul, choice or score"),
        ("x", {"a": {"type": "choice", "instructions": "?"}}, "criteria must be an object"),
        ([SHOWN, {"type": "input_file"}], NAMED, "a part of a message must be"),
    ):
        with pytest.raises(Refused, match=sentence):
            read_named(state, named)
    with pytest.raises(Refused, match=r"assets\.a\.type must be image or video"):
        read_named("x", NAMED, assets={"a": {"type": "audio"}})


@pytest.mark.parametrize("given", ["", " \n", [], user(), user(text(" "))], ids=str)
def test_an_empty_input_is_refused(given: Any) -> None:
    with pytest.raises(Refused, match="input is empty: put a video or a text there") as caught:
        read(given, STAR)
    assert caught.value.parameter == "input"


@pytest.mark.parametrize("state", [None, "", " ", [], {}], ids=str)
def test_an_empty_state_is_refused(state: Any) -> None:
    with pytest.raises(Refused, match="state is empty: put a video or a text there"):
        read_named(state, NAMED)


def test_the_longest_question_must_fit() -> None:
    request, _ = read("x", STAR | {"instructions": "?" * 81}, STAR)
    check_text(request.reply("mini", request), 11)
    with pytest.raises(Refused, match=r"^the messages have 83 bytes of text"):
        check_text(request.reply("mini", request), 10)


def test_errors_have_the_form_of_each(server: Running, client: openai.OpenAI) -> None:
    wrong: Any = STAR | {"type": "noul"}
    with pytest.raises(openai.BadRequestError) as caught:
        client.decisions.create(model="mini", input="x", questions=[wrong])
    assert (caught.value.param, caught.value.code) == ("questions[0].type", "usage")
    with pytest.raises(openai.NotFoundError):
        client.decisions.create(model="other", input="x", questions=[wrong | STAR])  # type: ignore[list-item]

    def posted(**body: Any) -> tuple[int, Any]:
        status, _, reply = server.request("POST", "/v1/systemone", json.dumps(body).encode())
        return status, json.loads(reply)

    status, reply = posted(state="x", questions={"a": wrong | {"type": "box"}})
    [detail] = reply["detail"]
    assert (status, detail["loc"]) == (422, ["body", "questions", "a", "type"])
    assert detail["msg"] == "questions.a.type must be noul, choice or score"
    status, reply = posted(state="x", questions=NAMED, model="jev-latest")
    assert (status, reply["detail"][:31]) == (404, "there is no model jev-latest; t")
