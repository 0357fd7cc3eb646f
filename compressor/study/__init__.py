"""`compress study` and the comparison of schemes."""
