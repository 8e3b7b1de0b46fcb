"""How fast answers are, stage by stage: `python -m benchmarks.speed`."""
