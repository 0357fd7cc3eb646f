"""typer commands and what they print; nothing imports it."""
