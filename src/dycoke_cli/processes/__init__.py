"""Processes of our own: workers, their limits, and the sandbox for what strangers have made."""
