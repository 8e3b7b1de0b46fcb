"""The world of moving shapes: scripts, their pictures, and questions with right answers.

The benchmark `shapes` is made of it, and the bundled model is trained on it. It knows nothing of
models.
"""
