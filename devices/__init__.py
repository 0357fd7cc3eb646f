"""Measures artifacts on devices."""
