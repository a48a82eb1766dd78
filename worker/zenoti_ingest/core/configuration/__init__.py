"""Reads addresses, secrets and variable names as operators write them, and guesses what a misspelt name means."""
