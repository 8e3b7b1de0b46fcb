"""A rehearsal: published checkpoints in their layout, with few layers, from a hub here.

What a user types about a model for the first time, from `dycoke models pull` on.
"""
