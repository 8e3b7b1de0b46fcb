"""Child processes: workers, resource limits, and the sandbox for untrusted input."""
