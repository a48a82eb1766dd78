"""Composition root: it alone reads the settings, and builds from them what daemons and commands need.

`intake` and `consume` each put a daemon together, run it, drain it and close it. `installation` has the parts that the
operator's commands work on. The other modules build what several of these three need.
"""
