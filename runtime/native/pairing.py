"""Whether speechpress and speechpress-runtime, which share this code, are of one version where both are installed."""

import warnings
from importlib.util import find_spec


def warn_of_other_versions() -> None:
    """Say it, with what to do; called when either package is imported."""
    # First by name: on a board there is one of them only, and asking for versions takes time.
    if find_spec("speechpress") is None or find_spec("speechpress_runtime") is None:
        return
    from importlib.metadata import PackageNotFoundError, version

    try:
        full, light = version("speechpress"), version("speechpress-runtime")
    except PackageNotFoundError:  # one of them is no installed distribution, as in a zip on a board
        return
    if full != light:
        warnings.warn(
            f"speechpress {full} and speechpress-runtime {light} are of different versions, and the one runs its "
            f"bundles with the engine of the other; install the same: pip install speechpress-runtime=={full}",
            stacklevel=3,
        )
