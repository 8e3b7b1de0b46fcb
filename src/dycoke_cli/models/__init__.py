"""Which models there are, how they are loaded, and where in their sequences visual tokens stand."""
