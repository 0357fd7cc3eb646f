"""Students that come with the package, ready to run and ready to go on with.

In: a name, such as `pocket-s`. Out: the folder of its bundle or of its checkpoint.
Start with: `shipped.shipped_students`.
"""
