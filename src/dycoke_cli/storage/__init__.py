"""Files on disk: the cache folder and output files."""
