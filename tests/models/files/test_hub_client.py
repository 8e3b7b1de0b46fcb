"""What the hub client takes for a name; tests/cli/commands/test_pull.py has whole downloads."""

import gzip

import httpx2
import huggingface_hub
import pytest

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.errors import ModelError
from dycoke_cli.models.files import hub as hub_files
from dycoke_cli.models.files.hub import _check_document, _check_name
from tests.http_servers import Handler, listening


class Answer:
    def __init__(self, document):
        self._document = document

    def json(self):
        if self._document is None:
            raise ValueError
        return self._document


@pytest.mark.parametrize("name", [None, "0123abc", '"0123abc"', 'W/"5f-3"', "no.quotes_at-all"])
def test_names_that_are_names(name):
    _check_name(name)


@pytest.mark.parametrize("name", ["", "W", '""', ".", "..", "/x", "a/b", "a\\b", "C:x", "a\0"])
def test_names_that_are_none(name):
    with pytest.raises(ModelError, match="the hub names a file outside its cache"):
        _check_name(name)


@pytest.mark.parametrize(
    "document",
    [
        {"sha": "../x"},
        {"siblings": [{"rfilename": "fine.json"}, {"rfilename": "a/../../x"}]},
        [{"path": "/x"}],
        [{"path": "x\x1b[2J"}],
        [{"path": "x", "oid": "a/b"}],
        [{"path": "x", "lfs": {"oid": "/etc/x"}}],
        [{"path": "x", "xetHash": ".."}],
    ],
)
def test_documents_that_lead_out(document):
    with pytest.raises(ModelError):
        _check_document(Answer(document))


@pytest.mark.parametrize(
    "document", [None, [], 3, {"path": 3}, [{"path": "a/b.json"}], {"id": "/"}]
)
def test_documents_that_are_fine(document):
    _check_document(Answer(document))


DOCUMENT = b'{"id": "a/b", "sha": "0123abc", "siblings": []}'


@pytest.fixture
def hub(monkeypatch):
    """A hub that answers with what is in a list: status, encoding and content."""
    answers = [(200, None, DOCUMENT)]

    class Answering(Handler):
        def do_GET(self):
            status, encoding, content = answers.pop()
            encoded = {"Content-Encoding": encoding} if encoding else {}
            self.send(status, content, {"Content-Type": "application/json", **encoded})

    bounds = Bounds(nbytes=100_000, values=1000)
    monkeypatch.setattr(hub_files, "BOUNDS", bounds)
    # The stock client: another test of this process may have had limits installed already, behind
    # the stock hook, without which nobody is offline.
    stock_hook, *_ = huggingface_hub.get_session().event_hooks["request"]

    def stock_client():
        hooks = {"request": [stock_hook]}
        return httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=None)

    huggingface_hub.set_client_factory(stock_client)
    hub_files.check_hub_answers.cache_clear()
    hub_files.check_hub_answers()
    with listening(Answering) as port:
        yield f"http://127.0.0.1:{port}", answers
    # Whoever comes next installs the usual limits again.
    huggingface_hub.set_client_factory(stock_client)
    hub_files.check_hub_answers.cache_clear()


def test_a_document_is_limited(hub):
    """A compressed one was read whole, whatever it became."""
    endpoint, answers = hub
    api = huggingface_hub.HfApi(endpoint=endpoint)
    assert api.model_info("a/b").sha == "0123abc"
    for status, encoding, content, says in (
        (
            200,
            "gzip",
            gzip.compress(DOCUMENT + b" " * 2**20, mtime=0),
            "it has the encoding 'gzip'",
        ),
        (404, "gzip", gzip.compress(b" " * 2**20, mtime=0), "it has the encoding 'gzip'"),
        (200, None, b" " * 2**20, "it is larger than 100,000 bytes"),
        (500, None, b" " * 2**20, "it is larger than 100,000 bytes"),
        (200, None, b"[" * 900, "it is nested more than 64 deep"),
        (200, None, b"[" + b"[]," * 5000, "it has more than 1,000 values"),
    ):
        answers.append((status, encoding, content))
        with pytest.raises(
            ModelError, match=r"what the hub at 127\.0\.0\.1 sends isn't"
        ) as refused:
            api.model_info("a/b")
        assert says in str(refused.value)


def test_a_file_is_not_limited(hub):
    endpoint, answers = hub
    answers[:] = [(200, None, b"x" * 2**20)]
    with huggingface_hub.get_session().stream("GET", f"{endpoint}/file") as response:
        assert sum(map(len, response.iter_bytes())) == 2**20
