"""Start the worker processes that share a plan. Each file is one way to do so (``--engine``)."""
