"""Comparisons of our speed with that of others, on the same input in the same run, and the page made of them.

A comparison is a module here with

- ``TITLE``, ``TEXT`` and ``COLUMNS``: its section of docs/benchmarks.md. ``TEXT`` has the fields of ``str.format``:
  the tables by name, ``{ratios}``, and the facts; so no number stands in it that was not measured.
- ``PACKAGES``: the distributions whose versions decide the numbers.
- ``measure(setup)``: does it, and returns what it ``Found``.

Its results are kept in results/NAME.json with the machine, versions, date and load.
"""
