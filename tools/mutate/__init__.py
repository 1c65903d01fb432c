"""Do the tests notice a fault? Plants faults one at a time in a copy of the project and runs the module's own tests.

``python -m tools.mutate capivara_cli/stages/split.py`` plants 20 random faults in one module.
``python -m tools.mutate --faults tools/mutate/faults.jsonl`` plants those of a list. Not part of CI: it takes minutes.
"""
