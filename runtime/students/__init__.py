"""Students that come with the package, ready to run.

In: a name, such as `pocket`. Out: the folder of its bundle.
Start with: `shipped.shipped_students`.
"""
