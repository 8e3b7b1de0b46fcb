"""`--require-sandbox` where the system isolates no process: nothing runs."""

from __future__ import annotations

import pytest

from tests.cli.harness import run_here

MOVE = "sample_videos/move.mp4"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", MOVE, "What?"),
        ("ask", MOVE, "What?", "--server", "http://127.0.0.1:9/v1"),
        ("batch", MOVE, "What?"),
        ("chat", MOVE),
        ("inspect", MOVE, "What?", "--json"),
        ("eval", "shapes", "--limit", "1"),
        ("bench", MOVE),
        ("watch", MOVE, "What?"),
        ("serve", "--port", "0"),
        ("mcp", "sample_videos"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("means", [(), ("landlock",)])
def test_nothing_runs_without_the_sandbox(
    arguments: tuple[str, ...], means: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.video.decoder.sandbox", lambda: means)
    run = run_here(*arguments, "--require-sandbox")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "--require-sandbox: the process that reads videos isn't sandboxed here" in run.err
