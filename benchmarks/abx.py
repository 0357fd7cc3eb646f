"""ABX of encoders beside log-mel and random weights, on an item file, layer by layer and in chunks.

    python benchmarks/make_abx_items.py CORPORA/speechocean762 OUT.item --speakers 6
    python benchmarks/abx.py OUT.item CORPORA/speechocean762/audio [--models hubert-mini BUNDLE ...] [--units 100]

Each model is what `compress eval MODEL --tasks abx` measures: a checkpoint that streams also in chunks of 80 to 640 ms,
a bundle as it runs. Writes results/abx.json: how many tokens, cells and speakers, errors of every layer, intervals.
"""

import argparse
from pathlib import Path
from typing import Any

from common import write

from speechpress.compressor.abx.evaluate import Request, evaluate_abx

KEPT = ("checkpoint", "items", "most_tokens", "seed", "hours", "tasks", "abx", "notes", "seconds")


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """Without where the files lie on this machine."""
    found = {key: document[key] for key in KEPT}
    return {**found, "items": {key: value for key, value in document["items"].items() if key != "path"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--models", nargs="+", default=["hubert-mini"])
    parser.add_argument("--units", type=int)
    parser.add_argument("--most", type=int, default=10, help="as --abx-max")
    given = parser.parse_args()
    request = Request(given.items, given.data, given.most or None, given.units)
    tell = lambda line: print(line, flush=True)  # noqa: E731
    models = {Path(model).name: kept(evaluate_abx(model, request, listen=tell)) for model in given.models}
    write("abx", {"models": models})


if __name__ == "__main__":
    main()
