"""The judge: what counts as its verdict, what is kept, and an endpoint that misbehaves."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli import judge_answers
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.evaluation.scoring.judge import (
    ANSWER,
    CAPTION,
    FILE,
    KEY,
    Item,
    NoReplyError,
    OpenAIClient,
    key_of,
    open_verdicts,
)
from dycoke_cli.retries import MAX_ATTEMPTS
from tests.evaluation.scoring.judges import YES, Endpoint, judging
from tests.marks import EXTENDED


def items(count: int) -> list[Item]:
    return [Item("What is {it}?", "a cat", f"a cat {number}") for number in range(count)]


@dataclass
class Scripted:
    """Replies as it is told, whatever it is asked."""

    says: Callable[[str], str] = lambda user: YES
    model: str = "judge-1"
    asked: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, system: str, user: str) -> tuple[str, str]:
        self.asked.append((system, user))
        return self.says(user), f"{self.model}-2026-11-20"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (YES, (True, 4)),
        (" {'pred': 'No', 'score': 0}\n", (False, 0)),
        ("{'pred': ' YES ', 'score': 4.8, 'reason': 'it is'}", (True, 4.8)),
        ('```json\n{"score": 5, "pred": "yes"}\n```', (True, 5)),
        ("```\n{'score': 5, 'pred': 'no'}```", (False, 5)),
    ],
)
def test_what_counts_as_a_verdict(reply: str, said: tuple[bool, float]) -> None:
    assert ANSWER.parse(reply) == said


@pytest.mark.parametrize(
    "reply",
    [
        "", "yes", "Yes, 4", "5", "[]", "null", "Here it is: " + YES, YES + " because",
        "{'pred': 'yes'}",
        "{'score': 4}", "{'pred': 'maybe', 'score': 4}", "{'pred': True, 'score': 4}",
        "{'pred': 'yes', 'score': '4'}", "{'pred': 'yes', 'score': True}",
        "{'pred': 'yes', 'score': None}", "{'pred': 'yes', 'score': 6}",
        "{'pred': 'yes', 'score': -1}", '{"pred": "yes", "score": NaN}',
        '{"pred": "yes", "score": 1e999}', "{'pred': 'yes', 'score': 10**1}",
        "__import__('os').getcwd()", "{" * 9000, "[" * 9999, " " * 9 + YES[:-1], f"{YES}\n{YES}",
        YES[:-1] + " " * 10_000 + "}",
    ],
)  # fmt: skip
def test_what_doesnt(reply: str) -> None:
    with pytest.raises(ValueError, match=r"its? "):
        ANSWER.parse(reply)


def test_a_caption_has_a_score_alone() -> None:
    assert CAPTION.parse("{'score': 3}") == (None, 3)
    with pytest.raises(ValueError, match="isn't from 0 to 5"):
        CAPTION.parse("{'score': 7}")


def test_the_judge_sees_question_reference_and_answer() -> None:
    client = Scripted()
    [verdict] = judge_answers([Item("What {0}?", "a {cat}", '}"{')], client, ANSWER)
    [(system, user)] = client.asked
    assert system == ANSWER.system
    assert user.startswith(
        'Question: What {0}?\nCorrect answer: a {cat}\nPredicted answer: }"{\n\n'
    )
    assert user.endswith(YES)
    assert (verdict.correct, verdict.score, verdict.error) == (True, 4, None)
    assert (verdict.model, verdict.prompt) == ("judge-1-2026-11-20", "answer/1")
    assert verdict.date.startswith("20")
    assert verdict.date.endswith("Z")


def test_verdicts_come_in_the_order_of_the_answers() -> None:
    def says(user: str) -> str:
        number = int(user.split("a cat ")[1].split("\n")[0])
        time.sleep(0.02 * (5 - number))
        return f"{{'pred': 'yes', 'score': {number}}}"

    asked = [*items(6), items(6)[2]]
    client, progress = Scripted(says), []
    found = judge_answers(
        asked, client, ANSWER, on_progress=lambda done, total: progress.append((done, total))
    )
    assert [verdict.score for verdict in found] == [0, 1, 2, 3, 4, 5, 2]
    assert len(client.asked) == 6  # equal ones once
    assert progress == [(done, 6) for done in range(7)]


def test_nonsense_is_asked_again_then_failed_and_counted() -> None:
    tries: Counter[str] = Counter()

    def says(user: str) -> str:
        tries[user] += 1
        if "a cat 0" in user:
            return "I like cats"
        return YES if "a cat 1" not in user or tries[user] == MAX_ATTEMPTS else "hm"

    found = judge_answers(items(3), Scripted(says), ANSWER)
    assert [verdict.error for verdict in found] == [
        f"no verdict in {MAX_ATTEMPTS} replies: it isn't a dictionary", None, None
    ]  # fmt: skip
    assert found[0].reply == "I like cats"
    assert sorted(tries.values()) == [1, MAX_ATTEMPTS, MAX_ATTEMPTS]
    assert {verdict.model for verdict in found} == {"judge-1-2026-11-20"}
    [scored] = judge_answers(items(1), Scripted(lambda _: "{'score': 2}"), CAPTION)
    assert (scored.correct, scored.score) == (None, 2.0)


def test_what_is_judged_isnt_asked_again(tmp_path: Path) -> None:
    client = Scripted(lambda user: "no idea" if "a cat 1" in user else YES)
    with open_verdicts(tmp_path) as journal:
        first = judge_answers(items(3), client, ANSWER, journal)
    client.asked.clear()
    with open_verdicts(tmp_path) as journal:
        # What failed is; so it is by another judge, with another prompt or about another answer.
        again = judge_answers(items(3), client, ANSWER, journal)
        assert {user for _, user in client.asked} == {ANSWER.user.format(**vars(items(3)[1]))}
        assert [again[0], again[2]] == [first[0], first[2]]
        client.asked.clear()
        judge_answers(items(1), replace(client, model="judge-2"), ANSWER, journal)
        judge_answers(items(1), client, replace(ANSWER, version="answer/2"), journal)
        judge_answers([replace(items(1)[0], reference="a dog")], client, ANSWER, journal)
        assert len(client.asked) == 3
    client.says = lambda user: YES
    with open_verdicts(tmp_path) as journal:
        assert judge_answers(items(3), client, ANSWER, journal)[1].error is None
    with open_verdicts(tmp_path) as journal:
        client.asked.clear()
        assert [v.error for v in judge_answers(items(3), client, ANSWER, journal)] == [None] * 3
        assert client.asked == []


def test_a_key_is_told_apart_by_all_that_a_verdict_depends_on() -> None:
    item = items(1)[0]
    keys = {
        key_of(item, "a", ANSWER),
        key_of(item, "b", ANSWER),
        key_of(item, "a", CAPTION),
        *(key_of(replace(item, **{name: "?"}), "a", ANSWER) for name in vars(item)),
    }
    assert len(keys) == 6


class Down(Scripted):
    """Gives no reply where the answer has one of these words."""

    words: Sequence[str] = ()

    def ask(self, system: str, user: str) -> tuple[str, str]:
        if any(f"{word}\n" in user for word in self.words):
            raise NoReplyError("status 503")
        return super().ask(system, user)


def test_an_answer_without_a_reply_fails_alone_and_many_end_the_run(tmp_path: Path) -> None:
    client = Down()
    client.words = ("a cat 1", "a cat 3", "a cat 5")
    found = judge_answers(items(7), client, ANSWER, at_once=1)
    assert [verdict.error for verdict in found if verdict.error] == ["no reply: status 503"] * 3
    assert found[1].model is None
    client.words = ("a cat 3", "a cat 4", "a cat 5")
    with open_verdicts(tmp_path) as journal:
        with pytest.raises(ModelError, match=r"judge-1 doesn't answer \(no reply: status 503\)"):
            judge_answers(items(9), client, ANSWER, journal, at_once=1)
        kept = [verdict for verdict in journal.verdicts.values() if verdict.error is None]
    assert len(kept) == 3


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    with judging(monkeypatch) as made:
        yield made


def test_the_official_client(endpoint: Endpoint) -> None:
    client = OpenAIClient("judge-1", endpoint.url)
    [verdict] = judge_answers(items(1), client, ANSWER)
    assert (verdict.correct, verdict.score, verdict.model) == (True, 4, "judge-1-served")
    [(headers, body, _)] = endpoint.seen
    assert headers["authorization"] == "Bearer sk-secret"
    assert (body["model"], body["temperature"]) == ("judge-1", 0)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


@pytest.mark.parametrize(
    "trouble", ["stall", *(pytest.param(one, marks=EXTENDED) for one in (429, "cut"))]
)
def test_trouble_that_passes(trouble: Any, endpoint: Endpoint) -> None:
    """Tried again, and later each time."""
    endpoint.plan = [trouble, trouble, "ok"]
    client = OpenAIClient("judge-1", endpoint.url, timeout_s=0.3)
    [verdict] = judge_answers(items(1), client, ANSWER)
    assert (verdict.error, verdict.score) == (None, 4)
    assert len(endpoint.seen) == 3
    first, second = (
        later[2] - earlier[2] - 0.3 * (trouble == "stall")
        for earlier, later in zip(endpoint.seen, endpoint.seen[1:], strict=False)
    )
    assert 0.3 < first < 0.75 < second < 1.5


def test_trouble_that_stays_is_counted(endpoint: Endpoint) -> None:
    endpoint.plan = [500, "stall", *["nonsense"] * MAX_ATTEMPTS, 400, "ok"]
    client = OpenAIClient("judge-1", endpoint.url, timeout_s=0.3, retries=0)
    found = judge_answers(items(2), client, ANSWER, at_once=1)
    assert ["no reply: " in (verdict.error or "") for verdict in found] == [True, True]
    found = judge_answers(items(3)[:3], client, ANSWER, at_once=1)
    assert "no verdict in 3 replies" in (found[0].error or "")
    assert "no reply: the server refuses the request" in (found[1].error or "")
    assert found[2].error is None
    endpoint.plan = [503] * 99
    with pytest.raises(ModelError, match="doesn't answer") as failed:
        judge_answers(items(9), client, ANSWER, at_once=1)
    assert "sk-secret" not in str(failed.value)


@pytest.mark.parametrize("page", ["html", "choiceless", "empty"])
def test_another_servers_page_is_nonsense(page: str, endpoint: Endpoint) -> None:
    endpoint.plan = [page] * MAX_ATTEMPTS
    [verdict] = judge_answers(items(1), OpenAIClient("judge-1", endpoint.url), ANSWER)
    nonsense = f"no verdict in {MAX_ATTEMPTS} replies: it isn't a dictionary"
    is_reply = page == "empty"
    assert (verdict.error == nonsense) is is_reply
    assert ("isn't a chat completion" in (verdict.error or "")) is not is_reply


def test_a_reply_that_drips_in_has_an_end(endpoint: Endpoint) -> None:
    endpoint.plan = ["drip"]
    client = OpenAIClient("judge-1", endpoint.url, timeout_s=1, retries=0)
    first, second = judge_answers(items(2), client, ANSWER, at_once=1)
    # By the client's own time between bytes, or by the limit of the whole: whichever is over first.
    assert re.search(r"no reply: .*(reached|doesn't end within 1 s)", first.error or "")
    assert second.error is None


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, f"set {KEY}"), (403, f"set {KEY}"), (404, "has no such model or path")],
)
def test_what_ends_the_run_at_once(status: int, sentence: str, endpoint: Endpoint) -> None:
    endpoint.plan = [status] * 9
    with pytest.raises(ModelError, match=sentence) as failed:
        judge_answers(items(1), OpenAIClient("judge-1", endpoint.url), ANSWER)
    assert len(endpoint.seen) == 1
    assert "sk-secret" not in str(failed.value)
    assert "sk-sec" not in str(failed.value)  # nor a part of it


def test_nobody_at_that_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason="the package openai (extra judge) isn't installed")
    monkeypatch.delenv(KEY, raising=False)
    client = OpenAIClient("judge-1", "http://127.0.0.1:9/v1", retries=0)
    with pytest.raises(ModelError, match=r"doesn't answer \(no reply: .* can't be reached"):
        judge_answers(items(3), client, ANSWER)


def test_the_key_is_nowhere(
    endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint.plan = [500, "ok", 400]
    client = OpenAIClient("judge-1", endpoint.url)
    with open_verdicts(tmp_path) as journal:
        judge_answers(items(2), client, ANSWER, journal, at_once=1)
    kept = (tmp_path / FILE).read_text()
    assert "refuses the request" in kept
    assert "sk-secret" not in kept + caplog.text + repr(client)
    assert not any(part in kept for part in ("sk-sec", "****"))  # nor what hides it in part


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:8000", "must be an address such as"),
        ("ftp://host/v1", "must be an address such as"),
        ("http://", "must be an address such as"),
        ("http://[/", "must be an address such as"),
        ("https://me:secret@host/v1", f"must not have a name or password in it: set {KEY}"),
    ],
)
def test_an_address_that_is_none(url: str, sentence: str) -> None:
    pytest.importorskip("openai", reason="the package openai (extra judge) isn't installed")
    with pytest.raises(UsageError, match=sentence) as refused:
        OpenAIClient("judge-1", url)
    assert "secret" not in str(refused.value)
