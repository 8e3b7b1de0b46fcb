"""Renderer of the bundled benchmark: scripts of moving shapes become video files.

The generator of scripts and questions is in `training/world/`.
"""
