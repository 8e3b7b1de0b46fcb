"""The renderer of the bundled benchmark: stored scripts of a world of moving shapes as video files.

It knows nothing of models. What draws scripts and asks about them is in `training/world/`.
"""
