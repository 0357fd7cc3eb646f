"""Encoder × Target → bundle; backends."""
