"""Recipes: YAML, read strictly, to frozen dataclasses.

In: a YAML file and changes by --set. Out: a `Recipe`. Nothing here imports torch.
Start with schema.py (what may stand in a recipe), then files.py.
"""
