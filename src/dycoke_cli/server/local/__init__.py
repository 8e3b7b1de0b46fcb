"""The local API: `dycoke ask` and `dycoke batch` find a running server at a unix socket."""
