"""Kinds of bad input, a module an area: each holds `CASES`, a list of `BadInput`.

`scripts/bad_inputs.py` lists them all with their messages in nbs/bad_inputs.md, and tests/test_bad_inputs.py runs them.
"""
