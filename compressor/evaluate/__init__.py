"""who answers and how well: upstreams, features, heads, probes, reports."""
