"""Files of a model: download, storage, and validation before a library reads them."""
