"""Composition root: open, verify, one TaskGroup, drain, close. Alone knows settings, stages and adapters together.

intake and consume put a daemon together, each of what it needs alone; the rest they share with operators' commands.
"""
