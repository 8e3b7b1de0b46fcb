"""Memory of an answer: estimated before, measured during, and explained where it runs out."""
