"""What the server counts, in Prometheus' text format."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping

_HELP = {
    "requests_total": ("counter", "Replies by HTTP status."),
    "cancelled_total": ("counter", "Requests whose client left before the answer ended."),
    "answers_total": ("counter", "Answers by compression method."),
    "tokens_generated_total": ("counter", "Generated tokens."),
    "visual_tokens_total": ("counter", "Visual tokens before compression."),
    "visual_tokens_kept_total": ("counter", "Visual tokens at prefill."),
    "videos_reused_total": ("counter", "Requests about a video that was encoded before."),
    "batches_total": ("counter", "Calls of the model, each with one or more requests."),
    "answer_seconds": ("summary", "Seconds in the model, by request."),
    "wait_seconds": ("summary", "Seconds from the request to the model, by request."),
    "requests_active": ("gauge", "Requests that wait or are answered, and commands connected."),
    "videos_held": ("gauge", "Encoded videos in memory."),
    "model_loaded": ("gauge", "1 while the model is in memory."),
}


class Metrics:
    """Counts, of all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for name, (kind, _) in _HELP.items():
            if kind == "summary":
                self._values[f"{name}_count"][""] = self._values[f"{name}_sum"][""] = 0.0
            elif name not in ("requests_total", "answers_total"):
                self._values[name][""] = 0.0

    def add(self, name: str, value: float = 1.0, **labels: str) -> None:
        """Count one more, or so many."""
        with self._lock:
            self._values[name][_labelled(labels)] += value

    def observe(self, name: str, value: float) -> None:
        """Count one more of a summary."""
        self.add(f"{name}_count")
        self.add(f"{name}_sum", value)

    def set(self, name: str, value: float) -> None:
        """What a gauge shows now."""
        with self._lock:
            self._values[name][""] = float(value)

    def mean(self, name: str) -> float | None:
        """Of a summary; None of none."""
        with self._lock:
            count = self._values[f"{name}_count"][""]
            return self._values[f"{name}_sum"][""] / count if count else None

    def text(self) -> str:
        """All of it."""
        lines = []
        with self._lock:
            for name, (kind, what) in _HELP.items():
                lines += [f"# HELP dycoke_{name} {what}", f"# TYPE dycoke_{name} {kind}"]
                for key in (f"{name}_sum", f"{name}_count") if kind == "summary" else (name,):
                    lines += [f"dycoke_{key}{of} {v:g}" for of, v in self._values[key].items()]
        return "\n".join(lines) + "\n"


def _labelled(labels: Mapping[str, str]) -> str:
    """Labels, whose values are words of ours: a status, the name of a method."""
    each = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{each}}}" if each else ""
