"""What the hub client takes for a name; tests/cli/commands/test_pull.py has whole downloads."""

import pytest

from dycoke_cli.errors import ModelError
from dycoke_cli.models.files.hub_client import _check_document, _check_headers


class Answer:
    def __init__(self, document):
        self._document = document

    def json(self):
        if self._document is None:
            raise ValueError
        return self._document


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-repo-commit": "0123abc", "etag": '"0123abc"'},
        {"etag": 'W/"5f-3"', "x-linked-etag": '"0123abc"'},
        {"etag": "no.quotes_at-all"},
    ],
)
def test_names_that_are_names(headers):
    _check_headers(headers, metadata=True)


def test_an_etag_names_a_file_in_metadata_only():
    headers = {"etag": 'W/"1f5-0vQ/+g="'}
    _check_headers(headers, metadata=False)
    with pytest.raises(ModelError, match="the hub names a file outside its cache"):
        _check_headers(headers, metadata=True)


@pytest.mark.parametrize("name", ["", "W", '""', ".", "..", "/x", "a/b", "a\\b", "C:x", "a\0"])
@pytest.mark.parametrize("header", ["etag", "x-repo-commit", "x-linked-etag", "x-xet-hash"])
def test_names_that_are_none(header, name):
    with pytest.raises(ModelError):
        _check_headers({header: name}, metadata=True)


@pytest.mark.parametrize(
    "document",
    [
        {"sha": "../x"},
        {"siblings": [{"rfilename": "fine.json"}, {"rfilename": "a/../../x"}]},
        [{"path": "/x"}],
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
