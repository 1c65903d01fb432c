"""The parts of ``filter``: scores, rules for texts and images, and decisions over the corpus."""
