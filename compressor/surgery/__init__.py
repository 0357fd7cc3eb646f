"""encoder → smaller encoder of the same class."""
