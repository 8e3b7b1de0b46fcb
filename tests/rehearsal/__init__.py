"""A rehearsal: published checkpoints in their layout, with random weights, from a hub here.

What a user types about a model for the first time, from `dycoke models pull` to `rm`, against
`tests.hub`. The weights have their true size and are made while they are sent, so the hub stores
none. An ordinary test runs the same with few layers.
"""
