"""The world of moving shapes: scripts drawn at random, and questions about them with answers."""
