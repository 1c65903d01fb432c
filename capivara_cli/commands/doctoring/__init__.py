"""The parts of ``capivara doctor``: the machine, the caches, what is ready without a network, and optional extras."""
