"""The job engine: jobs, what answers them (here or on Ray), and the journal of results."""
