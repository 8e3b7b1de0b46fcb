"""Applies a method's selections to a stock model: hooks, KV cache, sessions, figures.

Never imports av: a machine that runs the model may lack it.
"""
