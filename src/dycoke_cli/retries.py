"""Limits of all retries: what fails is never tried again without end.

Other retries are bounded by what they do: a failed batch is halved down to single questions, and a
clip in a watched folder is read again only after it has grown.
"""

MAX_ATTEMPTS = 3
"""Attempts in a row that may fail: decoding or answering about a video that ends its process,
loading a model in a worker, getting a verdict from a judge. Something else may have caused it."""
REQUEST_RETRIES = 6
"""Retries on 429, 5xx and lost connections, with growing pauses or those of Retry-After."""
