"""Whether speechpress and speechpress-runtime, which share this code, are of one version where both are installed."""

import warnings
from importlib.util import find_spec


def warn_of_other_versions() -> None:
    """Say it, with what to do; called when either package is imported."""
    found = installed_pair()
    if found is not None and found[0] != found[1]:
        warnings.warn(f"{words(*found)}; install the same: {cure(*found)}", stacklevel=3)


def installed_pair() -> tuple[str, str] | None:
    """The versions of speechpress and of speechpress-runtime; None where they are not both installed."""
    # First by name: on a board there is one of them only, and asking for versions takes time.
    if find_spec("speechpress") is None or find_spec("speechpress_runtime") is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("speechpress"), version("speechpress-runtime")
    except PackageNotFoundError:  # one of them is no installed distribution, as in a zip on a board
        return None


def words(full: str, light: str) -> str:
    return (
        f"speechpress {full} and speechpress-runtime {light} are of different versions, and the one runs its bundles "
        "with the engine of the other"
    )


def cure(full: str, light: str) -> str:
    return f"pip install speechpress-runtime=={full}"
