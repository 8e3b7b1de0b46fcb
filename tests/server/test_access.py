"""Who may send requests: keys, hosts and origins."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.server.access import check, read_keys, read_origins
from dycoke_cli.server.lifetime import Address
from dycoke_cli.server.refused import Refused
from tests.server.pretended import body_of, running


def status(key: str = "", needs_key: bool = True, **headers: str) -> int:
    try:
        check(Headers(headers), read_keys(key), needs_key=needs_key)
    except Refused as reason:
        return reason.status
    return 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_this_machine_may_ask_without_a_key(host: str) -> None:
    assert status(host=host) == 200
    assert status(host=host, origin="http://localhost:3000") == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "", "[", "10.0.0.1"]
)
def test_a_name_that_was_made_to_mean_this_machine(host: str) -> None:
    assert status(host=host) == 403


def test_a_refusal_names_the_header() -> None:
    local, other = "localhost", "https://evil.example"
    for headers, says in (
        ({"host": "evil.example"}, "the header Host is evil.example: start .* DYCOKE_API_KEY"),
        ({"host": local, "origin": other}, "the header Origin is https://evil.example: "),
    ):
        with pytest.raises(Refused, match=says):
            check(Headers(headers), ())


def test_no_host_and_another_origin() -> None:
    assert status() == 400
    assert status(host="localhost", origin="https://evil.example") == 403
    assert status(host="localhost", origin="null") == 403


@pytest.mark.parametrize("key", ["", "secret"])
def test_a_page_of_an_origin_that_may_ask(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A browser asks first, without the key, and reads what has the header; others get none."""
    brought = {"Authorization": f"Bearer {key}"} if key else {}
    names = {"Method": "POST", "Headers": "authorization"}
    asks = {f"Access-Control-Request-{name}": value for name, value in names.items()}
    page, allowed = "https://chat.example", "access-control-allow-origin"
    with running(monkeypatch, key=key, origins=read_origins([f"{page}/"])) as server:

        def sent(method: str, origin: str, **headers: str) -> tuple[int, str | None, str | None]:
            body = body_of("What?") if method == "POST" else None
            path = "/v1/chat/completions"
            status, found, _ = server.request(method, path, body, Origin=origin, **headers)
            return status, found.get(allowed), found.get("access-control-allow-headers")

        assert sent("OPTIONS", page, **asks) == (200, page, "authorization")
        assert sent("POST", page, **brought)[:2] == (200, page)
        assert sent("POST", page, Authorization="Bearer no")[1] == page
        other = sent("POST", "https://evil.example", **brought)
        assert other[:2] == ((200 if key else 403), None)
        assert sent("OPTIONS", "https://evil.example", **asks)[1] is None
        host = sent("POST", page, Host="evil.example", **brought)
        assert host[0] == (200 if key else 403)


@pytest.mark.parametrize("given", ["*", "null", "chat.example", "https://a.example/x", "https://"])
def test_what_is_no_origin(given: str) -> None:
    with pytest.raises(UsageError, match="--cors takes an origin"):
        read_origins([given])


@pytest.mark.parametrize(
    "brought",
    [None, "Bearer", "Bearer ", "Bearer wrong", "Basic secret", "secret", "Bearer secret2"],
)
def test_not_the_key(brought: str | None) -> None:
    headers = {} if brought is None else {"authorization": brought}
    assert status("secret", host="any.example", **headers) == 401
    assert status("secret", needs_key=False, host="any.example", **headers) == 200


@pytest.mark.parametrize("key", ["clé à", "ключ", "日本"])
def test_a_key_of_other_letters(key: str) -> None:
    """The last byte of "à" in UTF-8 is a space of Latin-1."""
    sent = [(b"host", b"any.example"), (b"authorization", f"Bearer {key}".encode())]
    assert check(Headers(raw=sent), ("another", key)) == 1


def test_several_keys() -> None:
    assert read_keys(" anna\r\nben\n\nanna\n") == ("anna", "ben")
    assert read_keys("clé à") == ("clé à",)
    assert read_keys("") == ()
    with pytest.raises(UsageError, match="DYCOKE_API_KEY is blank"):
        read_keys(" \n")


def test_other_machines_need_a_key() -> None:
    with pytest.raises(UsageError, match=r"--host 0\.0\.0\.0 lets other machines ask"):
        Address("0.0.0.0", 0)
    Address("0.0.0.0", 0, ("secret",))


def test_an_address_that_is_taken() -> None:
    with Address("127.0.0.1", 0).bind() as listening:
        port = listening.getsockname()[1]
        with pytest.raises(OutputError, match=f"127.0.0.1:{port} can't be listened at"):
            Address("127.0.0.1", port).bind()
