"""How the command line explains itself: the looks of help, and what the shell completes.

In: typer parameters, what was typed so far. Out: help pages, completions.
Start with looks.py; complete.py is what the shell asks.
"""
