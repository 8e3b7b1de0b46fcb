"""Files that are kept or written: the cache folder, and output files."""
