"""YAML → frozen sections; no torch."""
