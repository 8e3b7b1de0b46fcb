"""World of moving shapes: scripts drawn at random, questions about them, and their video files.

The bundled model is trained on these scripts (`training/`), and the benchmark `shapes` has more.
"""
