"""The files of a model: downloaded, on disk, and checked before a library reads them."""
