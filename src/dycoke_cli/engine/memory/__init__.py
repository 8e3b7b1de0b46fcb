"""Memory and time of an answer: estimated before it, and measured during it."""
