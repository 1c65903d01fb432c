"""Start the worker processes that share a plan: one file, one way (``--engine``)."""
