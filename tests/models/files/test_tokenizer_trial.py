"""A tokenizer is tried in a process of its own before it is loaded, with random ones too."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.files import small_files as tokenizer_trial
from dycoke_cli.models.files.small_files import check_tokenizer
from dycoke_cli.models.load import byte_tokenizer
from dycoke_cli.processes.isolated import Isolated
from dycoke_cli.storage import output_file as private_file
from tests.processes.test_worker import ended

BUNDLED = BUNDLED_CHECKPOINT / "tokenizer.json"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Isolated]:
    """With an empty cache: the processes that were started."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    seen = []

    def noted(target: str, prepare: str) -> Isolated:
        seen.append(Isolated(target, prepare))
        return seen[-1]

    monkeypatch.setattr(tokenizer_trial, "Isolated", noted)
    return seen


def test_what_passed_is_not_tried_again(
    started: list[Isolated], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_tokenizer("mine", BUNDLED)
    check_tokenizer("mine", BUNDLED)
    assert len(started) == 1
    assert ended(started[0].pid)
    monkeypatch.setattr(private_file, "is_of_another_user", lambda found: True)
    check_tokenizer("mine", BUNDLED)  # whoever may write there could say so of any
    assert len(started) == 2


def test_what_did_not_pass_is_tried_each_time(
    started: list[Isolated], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = tokenizer_trial.PROCESS
    monkeypatch.setattr(tokenizer_trial, "PROCESS", "os:abort")
    for _ in range(2):
        with pytest.raises(ModelError, match=r"mine can't be loaded: its tokenizer.json crashes"):
            check_tokenizer("mine", BUNDLED)
    assert len(started) == 2
    monkeypatch.setattr(tokenizer_trial, "PROCESS", process)
    monkeypatch.setattr(tokenizer_trial, "_DEADLINE_S", 0.001)
    with pytest.raises(ModelError, match="takes more time or memory"):
        check_tokenizer("mine", BUNDLED)


def test_what_its_reader_refuses_is_left_to_that(started: list[Isolated], tmp_path: Path) -> None:
    check_tokenizer("mine", tmp_path / "tokenizer.json")
    assert not started
    (tmp_path / "tokenizer.json").write_text("{")
    check_tokenizer("mine", tmp_path / "tokenizer.json")


def test_a_cache_that_cannot_be_written_costs_no_answer(
    started: list[Isolated], tmp_path: Path
) -> None:
    (tmp_path / "cache").touch()
    check_tokenizer("mine", BUNDLED)
    assert started


SPECIAL = {"<pad>": 0, "<s>": 7, "<video>": 500}
DESCRIBED = {"special": SPECIAL, "named": {"video_token": "<video>"}, "pad": "<pad>"}


@pytest.fixture(scope="module")
def words():
    return byte_tokenizer(DESCRIBED, 600)


def test_special_tokens_have_their_true_ids(words):
    assert words.convert_tokens_to_ids(list(SPECIAL)) == [0, 7, 500]
    assert words("<s><video><video>")["input_ids"] == [7, 500, 500]
    assert (words.video_token, words.video_token_id) == ("<video>", 500)
    assert (words.pad_token_id, words.padding_side) == (0, "left")


def test_every_id_of_the_model_is_a_word(words):
    assert len(words) == 600
    assert len(set(words.convert_ids_to_tokens(list(range(600))))) == 600
    assert None not in words.convert_ids_to_tokens(list(range(600)))


@pytest.mark.parametrize("text", ["What happens?", "Ünï \n 漢字", " two  spaces "])
def test_text_is_its_bytes(words, text):
    ids = words(text)["input_ids"]
    assert len(ids) == len(text.encode())
    assert words.decode(ids) == text
    assert not set(ids) & set(SPECIAL.values())
