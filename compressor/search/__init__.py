"""`compress search` (architecture search under a latency budget)."""
