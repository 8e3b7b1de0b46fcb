"""The world of moving shapes: scripts (what is said), the director (who draws them), motion."""
