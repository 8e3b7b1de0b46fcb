"""Statistics below an answer: a line, a panel of retention, cost and savings, or a comparison."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dycoke_cli.answer.answer import Answer, Bytes, Decode, Flops, ReportedWindows, Seconds
from dycoke_cli.answer.json_schema import ABSENT, Absent
from dycoke_cli.cli.render.figures import Column, figure_rows, named, texts
from dycoke_cli.cli.render.units import (
    count,
    counted,
    flops,
    likelihood,
    odds,
    scoring,
    seconds,
    share,
    size,
)
from dycoke_cli.compression.registry import restore, symbols
from dycoke_cli.unicode import one_line

_COMPARED = (
    Column("Visual tokens at prefill", lambda answer: answer.tokens.visual_kept),
    Column("Visual tokens attended per step", lambda answer: _read_per_step(answer)),
    Column("Vision", lambda answer: answer.seconds.vision, seconds),
    Column("Prefill", lambda answer: answer.seconds.prefill, seconds),
    Column("TTFT", lambda answer: answer.seconds.first_token, seconds),
    Column("Decode", lambda answer: answer.seconds.decode, seconds),
    Column("End to end", lambda answer: answer.seconds.total, seconds),
    Column("KV cache in use", lambda answer: answer.bytes.kv_active, size),
    Column("KV cache held", lambda answer: answer.bytes.kv_cache, size),
    Column(
        "LLM FLOPs (paper's formula)",
        lambda answer: answer.flops.prefill + answer.flops.decode,
        flops,
    ),
)
_SERVED = (
    Column("Visual tokens", lambda answer: answer.tokens.visual),
    Column("Visual tokens at prefill", lambda answer: answer.tokens.visual_kept),
    Column("Prompt tokens", lambda answer: answer.tokens.prompt),
    Column("Generated tokens", lambda answer: answer.tokens.generated),
    Column("Video decode", lambda answer: answer.seconds.video_decode, seconds),
    Column("TTFT", lambda answer: answer.seconds.first_token, seconds),
    Column("Request", lambda answer: answer.seconds.request, seconds),
)
"""Figures that a server may report."""


def panel(answer: Answer, waited_s: float | None = None, warm_up_s: float = 0.0) -> Panel:
    """Panel with all figures of an answer.

    Args:
        waited_s: seconds from the command or the previous answer to its end; None for the
            measured stages alone.
        warm_up_s: seconds of `waited_s` spent on an unmeasured warm-up.
    """
    table = named(_rows(answer, waited_s, warm_up_s))
    body = Group(table, Text(), Text(saving(answer), style="green"))
    return Panel(body, title=Text(_title(answer)), title_align="left", expand=False)


def summary(answer: Answer, waited_s: float, more: str = "--stats") -> str:
    """Summary line of an answer: time, and share of dropped tokens."""
    tokens = answer.tokens
    visual, kept, read = tokens.visual, tokens.visual_kept, tokens.visual_read_per_step
    of_them = f"of {count(visual)} visual tokens"
    if kept < visual:
        effect = f"{share(visual - kept, visual)} {of_them} dropped"
    elif read is not None and read < visual:
        effect = f"decode attends to {share(read, visual)} {of_them}"
    else:
        effect = "no visual tokens dropped"
    return f"{seconds(waited_s)} · {effect} · {more} shows more"


def saving(answer: Answer) -> str:
    """Sentence about the dropped tokens and the saved FLOPs."""
    tokens, used = answer.tokens, answer.flops
    if answer.method["name"] == "none" and tokens.visual_kept == tokens.visual:
        return "No visual tokens dropped: this is the baseline."
    visual, kept = tokens.visual, tokens.visual_kept
    active, read = tokens.visual_active_in_decode, tokens.visual_read_per_step
    effect = []
    if kept < visual:
        effect.append(f"{share(visual - kept, visual)} of visual tokens dropped")
    if active < kept and read is not None:
        effect.append(
            f"decode attends to {share(read, visual)} of them"
            f" ({share(active, visual)} in pruned layers)"
        )
    if not effect:
        return "No visual tokens dropped."
    # `uncompressed` is the same formula for the same tokens without a method.
    change = (used.prefill + used.decode) / used.uncompressed - 1
    flops = f"LLM FLOPs {'+' if change > 0 else '−'}{share(abs(change), 1)} (paper's formula)."
    sentence = "; ".join([*effect, flops])
    return sentence[0].upper() + sentence[1:]


def _title(answer: Answer) -> str:
    method = restore(answer.method)
    shown = symbols(method)
    return one_line(" · ".join([answer.model.name, method.title, *shown]))


def _rows(answer: Answer, waited_s: float | None, warm_up_s: float) -> list[tuple[str, str]]:
    # Short enough for a terminal of 80 columns.
    rows = [("Visual tokens", _tokens(answer))]
    if not isinstance(answer.windows, Absent):
        rows.append(("Windows", _windows(answer.windows)))
    typed = not isinstance(answer.choice, Absent)
    if typed:
        rows += [("Options", one_line(odds(answer))), ("Scored", scoring(answer))]
    else:
        rows.append(("Attended", _attended(answer)))
    if not isinstance(answer.subtitles, Absent):
        subtitles = answer.subtitles
        lines = counted(subtitles.lines, "line")
        rows.append(("Subtitles", one_line(f"{lines} of {subtitles.source}, in the prompt")))
    pruning = restore(answer.method).pruning()
    if pruning is not None and not typed:
        rows.append(("KV selection", _selection(answer.decode)))
    return [
        *rows,
        ("LLM FLOPs", _flops(answer.flops)),
        ("Time", _time(answer.seconds, waited_s, warm_up_s)),
        ("Speed", _speed(answer)),
        ("Memory", _memory(answer.bytes)),
        ("Loaded", _loaded(answer)),
    ]


def _tokens(answer: Answer) -> str:
    visual, kept = answer.tokens.visual, answer.tokens.visual_kept
    frames = counted(answer.frames.count, "frame")
    return f"{count(visual)} from {frames} → {count(kept)} at prefill ({share(kept, visual)})"


def _windows(windows: ReportedWindows) -> str:
    positions = "contiguous" if windows.positions == "renumbered" else "original"
    read = f"{count(windows.count)} of {counted(windows.frames, 'frame')}"
    return f"{read}, {count(windows.visual_kept)} tokens kept; {positions} positions"


def _attended(answer: Answer) -> str:
    tokens = answer.tokens
    visual, read = tokens.visual, tokens.visual_read_per_step
    active = count(round(tokens.visual_active_in_decode))
    if read is None:
        return f"{active} per step; fewer in layers with a sliding window or linear attention"
    mean = f"{count(round(read))} ({share(read, visual)}) per step, mean over layers"
    if tokens.visual_active_in_decode == tokens.visual_kept:
        return mean
    return f"{mean}; {active} ({share(tokens.visual_active_in_decode, visual)}) in pruned"


def _selection(decode: Decode) -> str:
    return (
        f"{counted(decode.choices_renewed, 'update')} in {counted(decode.steps, 'step')}, "
        f"{count(decode.tokens_evicted)} evicted, {count(decode.tokens_recalled)} recalled"
    )


def _flops(used: Flops) -> str:
    total = used.prefill + used.decode
    return (
        f"{flops(total)} of {flops(used.uncompressed)} baseline"
        f" ({share(total, used.uncompressed)}), by the paper's formula"
    )


def _time(times: Seconds, waited_s: float | None, warm_up_s: float) -> str:
    """Waiting time, and its stages, which add up to it."""
    stages = {"vision": times.vision, "prefill": times.prefill, "decode": times.decode}
    measured = sum(stages.values())
    # Everything before the stages: start of the program, loading of model and video (in parallel).
    start = times.load + times.video_decode if waited_s is None else waited_s - measured - warm_up_s
    parts = {"start": max(0.0, start), "warm-up": warm_up_s} | stages
    total = sum(parts.values())
    # All parts have the digits of the total, so that they visibly add up to it.
    digits = 2 if total < 10 else 1 if total < 100 else 0
    figures = {name: f"{part:.{digits}f}" for name, part in parts.items()}
    # A stage that rounds to zero says nothing.
    named = " · ".join(f"{name} {figure}" for name, figure in figures.items() if float(figure))
    return f"{total:.{digits}f} s: {named}"


def _speed(answer: Answer) -> str:
    times, rate = answer.seconds, answer.tokens_per_second
    video = ", video included" if times.video_decode else ""
    parts = [f"TTFT {seconds(times.first_token)}{video}"]
    if rate:
        # Memory bandwidth of decode: implausible speeds show at a glance.
        read = answer.bytes.read_per_token
        bandwidth = "" if read is None else f" ({size(read * rate)}/s)"
        parts.append(f"{rate:.1f} tokens/s{bandwidth}")
    return " · ".join(parts)


def _memory(memory: Bytes) -> str:
    used = f"{size(memory.kv_active)} of it in use"
    cache = f"KV cache {size(memory.kv_cache)} ({used})"
    peak = memory.peak_working
    return cache if peak is None else f"{cache} · peak {size(peak)}"


def _loaded(answer: Answer) -> str:
    times = answer.seconds
    weights = f"weights {size(answer.bytes.weights)} in {seconds(times.load)}"
    return f"{weights} · video {seconds(times.video_decode)}" if times.video_decode else weights


def comparison(compressed: Answer, uncompressed: Answer) -> Table:
    """Table of both answers and their costs, with ratios."""
    # The second answer reused the encoded video; its costs are compared as if it hadn't.
    shared = not uncompressed.seconds.vision
    if shared:
        uncompressed = _with_video(uncompressed, compressed)
    rows = []
    if (likely := likelihood(compressed)) is not None:
        rows.append(["Probability", likely, likelihood(uncompressed) or "", ""])
    for name, *cells in figure_rows(_COMPARED, compressed, uncompressed):
        rows.append([name, *(["–"] * 3 if "–" in cells[:2] else cells)])
    once = " The video was encoded once, for both." if shared else ""
    caption = f"A short run came first that isn't measured, so that times compare.{once}"
    title = "With and without compression"
    return _side_by_side(title, rows, compressed, uncompressed, caption)


def served(answer: Answer, waited_s: float) -> Table:
    """Table of all figures of a server's answer; a dash where it doesn't report one.

    Args:
        waited_s: seconds until its end.
    """
    base = None if answer.compared_to is ABSENT else answer.compared_to
    rows = [*figure_rows(_SERVED, *(one for one in (answer, base) if one is not None))]
    if base is None:
        rows.append(["In all", seconds(waited_s)])
    return _side_by_side(f"{answer.model.name} at {answer.model.server}", rows, answer, base)


def served_line(answer: Answer, waited_s: float, more: str) -> str:
    """Summary line of a server's answer.

    Args:
        waited_s: seconds until its end.
    """
    tokens, parts = answer.tokens, [seconds(waited_s)]
    if tokens.visual and tokens.visual_kept is not None:
        dropped = share(tokens.visual - tokens.visual_kept, tokens.visual)
        parts.append(f"{dropped} of {count(tokens.visual)} visual tokens dropped")
    elif isinstance(tokens.prompt, int):
        parts.append(f"{count(tokens.prompt)} prompt tokens")
    return one_line(" · ".join([*parts, answer.model.name, f"{more} shows more"]))


def _side_by_side(
    title: str, rows: list[list[str]], answer: Answer, base: Answer | None, caption: str = ""
) -> Table:
    """Table with a column for an answer; with the baseline, if there is one, and both texts."""
    method = "the server's own method" if answer.method is None else str(answer.method["name"])
    if base is None:
        return texts(rows, ("", method), caption, title)
    same = "identical" if answer.answer == base.answer else "differs"
    rows = [["Answer", answer.answer, base.answer, same], *rows]
    return texts(rows, ("", method, "baseline", "ratio"), caption, title)


def _read_per_step(answer: Answer) -> float | None:
    read = answer.tokens.visual_read_per_step
    return None if read is None else round(read, 1)


def _with_video(answer: Answer, encoded: Answer) -> Answer:
    """Add the time of decoding and encoding the video to an answer that reused it."""
    video_s, vision_s = encoded.seconds.video_decode, encoded.seconds.vision
    seconds_ = answer.seconds
    with_video = replace(
        seconds_,
        video_decode=video_s,
        vision=vision_s,
        first_token=seconds_.first_token + video_s + vision_s,
        total=seconds_.total + video_s + vision_s,
    )
    return replace(answer, seconds=with_video)
