"""Load on `vllm serve` with the plug-in of `plugins/vllm`; see `__main__.py`."""
