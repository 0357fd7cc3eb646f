"""The command line: typer commands and the tables they print. Nothing imports it.

In: words. Out: text for people, or one JSON document with --json.
Start with main.py; each command is a few lines around one function of another room.
"""
