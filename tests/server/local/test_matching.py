"""Which requests of commands this server answers, and that what it reads is what was sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dycoke_cli.runs.conversation import Conversation
from dycoke_cli.server.local.matching import conversation_of, matched

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server.local.wire import Ask, ask_of, code, model_key
from dycoke_cli.server.refused import Refused
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling

DEFAULTS = Request("mini", LoadOptions(), Sampling(frames=8), create("none"), GenerationOptions())
ASKED = replace(
    DEFAULTS,
    sampling=Sampling(frames=5, start_s=1.5),
    method=create("dycoke", prune_ratio=0.5),
    generation=GenerationOptions(max_new_tokens=7),
    limits=Limits(time_limit=9.0),
    subtitles="a.srt",
)


def sent(**changed: Any) -> Any:
    conversation = Conversation(
        ("a.mp4", "b.mp4"), ["One?", "Two?"], ASKED, compare=True, cache=False, follow_up=True
    )
    return to_dict(ask_of(replace(conversation, **changed)))


def test_a_conversation_is_read_as_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    found = conversation_of(sent(), DEFAULTS)
    assert found.videos == ("/a.mp4", "/b.mp4")
    assert list(found.questions) == ["One?", "Two?"]
    # The server's model; all else is the command's.
    assert found.request == replace(ASKED, model="mini", subtitles="/a.srt")
    assert (found.compare, found.cache, found.follow_up) == (True, False, True)
    other = conversation_of(sent(compare=False, follow_up=False, cache=True), DEFAULTS)
    assert (other.compare, other.cache, other.follow_up) == (False, True, False)
    third = conversation_of(sent(compare=False), DEFAULTS)
    assert (third.compare, third.follow_up) == (False, True)
    auto = sent(request=replace(ASKED, subtitles="auto"))
    assert conversation_of(auto, DEFAULTS).request.subtitles == "auto"


def refused(document: Any, defaults: Request = DEFAULTS) -> str:
    with pytest.raises(Refused) as error:
        matched(Ask, document, defaults)
    assert error.value.status == 409
    return str(error.value)


def test_what_this_process_would_answer_otherwise_is_refused(tmp_path: Path) -> None:
    def setup(**changed: Any) -> Any:
        document = sent()
        return document | {"setup": document["setup"] | changed}

    assert "another version" in refused(setup(code=f"{code()}x"))
    assert "another version" in refused(setup(code=None))
    assert "another version" in refused([])
    assert "doesn't understand" in refused(setup(sampling={"frames": "many"}))
    assert "doesn't understand" in refused(setup(method={"name": "nothing-like-it"}))
    assert "it has the model mini" in refused(setup(model="other"))
    loading = to_dict(replace(DEFAULTS.loading, dtype="float32"))
    assert "with other flags" in refused(setup(loading=loading))
    method = setup()["setup"]["method"]
    assert "a plug-in has changed" in refused(setup(method=method | {"more": 1}))
    assert "another cache folder" in refused(setup(cache=str(tmp_path / "elsewhere")))
    with_flags = replace(DEFAULTS, loading=replace(DEFAULTS.loading, dtype="float32"))
    assert "with other flags" in refused(sent(), with_flags)


def test_a_folder_is_the_same_model_by_any_path(tmp_path: Path) -> None:
    folder, link = tmp_path / "model", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    assert model_key(str(link)) == model_key(f"{tmp_path}/./model") == str(folder.resolve())
    assert model_key("mini") == "mini"
