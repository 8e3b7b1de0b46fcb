"""Questions about scripts, and their right answers."""
