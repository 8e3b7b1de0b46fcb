"""What a rewrite may not change: answers and refusals as they are printed, and the keys of runs."""
