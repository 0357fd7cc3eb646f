"""`speechpress-doctor`: whether this installation can run bundles here, and what to do where it cannot."""

import argparse
import platform
import sys

from .runtime.json_file import json_text
from .runtime.native import health


def main(words: list[str] | None = None) -> int:
    """Exit code 0, or 1 when a check failed."""
    parser = argparse.ArgumentParser("speechpress-doctor", description="Check this installation.")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    given = parser.parse_args(words)
    python = health.check("python", sys.version_info >= (3, 11), platform.python_version(), "use Python 3.11 to 3.13")
    checks = [python, *health.checks()]
    ok = all(found["ok"] for found in checks)
    if given.json:
        sys.stdout.write(json_text({"ok": ok, "checks": checks}) + "\n")
        return 0 if ok else 1
    for found in checks:
        sys.stdout.write(f"{'ok  ' if found['ok'] else 'FAIL'} {found['name']}: {found['detail']}\n")
        if found["fix"]:
            sys.stdout.write(f"     {found['fix']}\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
