"""Which answers are correct, and how sure that is."""
