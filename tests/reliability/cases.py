"""All bad inputs: what is wrong, how it is made, the command, and what must happen.

The rows of docs/reliability.md are these cases as they ran; ``python docs/make_reliability.py`` writes them.
"""

from __future__ import annotations

from reliability import bad_inputs, bad_options, bad_results
from reliability.case import Case

TOPICS: dict[str, list[Case]] = {**bad_inputs.TOPICS, **bad_results.TOPICS, **bad_options.TOPICS}
CASES: list[Case] = [case for cases in TOPICS.values() for case in cases]
