"""World of moving shapes: scripts of clips, their frames and their video files.

`training/` draws the scripts and asks about them; `shapes` and `shapes-long` are made of some.
"""
