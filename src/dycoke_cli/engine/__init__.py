"""Applies a method's choices to a stock model: hooks, KV store, sessions, figures.

Never imports av: a machine that runs the model may lack it.
"""
