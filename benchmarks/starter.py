"""What the first command shows: the starter's student before and after, log-mel, random weights, the teacher: `voices`.

    python benchmarks/starter.py WORK [--recipe distilhubert] [--seeds 0,1,2]

Each seed is a run of `compress distill --recipe RECIPE --starter` in WORK/RECIPE-seed-N, with nothing else changed; a
run that is finished there is not made again, but must be of the recipe as it is now, and of the teacher that ships.
Writes results/starter.json, a part for each seed, with what the run's card tells of its training.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from common import Parts

from speechpress.compressor.abx.quick import compared
from speechpress.compressor.distill.plan import untrained
from speechpress.compressor.models.checkpoint import CARD, WEIGHTS, sha256
from speechpress.compressor.models.document_schema import read_card
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.recipe.schema import Recipe
from speechpress.compressor.starter import TEACHER, settings
from speechpress.runtime.json_file import json_text


def recipe_of(name: str, seed: int) -> Recipe:
    return load_recipe(name, [*settings(None), f"train.seed={seed}"])


def trained(folder: Path, name: str, seed: int) -> dict[str, Any]:
    """The card of a run of this seed, which is made where it is not there."""
    if not (folder / CARD).is_file():
        words = ["compress", "distill", "--recipe", name, "--starter", "--set", f"train.seed={seed}"]
        subprocess.run([*words, "--out", str(folder)], check=True)
    card = read_card(folder / CARD)
    # Through JSON as the card's own went.
    if card["recipe"] != json.loads(json_text(recipe_of(name, seed).to_dict())) or not card["finished"]:
        sys.exit(f"{folder}: is not a finished run of {name} --starter with seed {seed} as it is now")
    if (card["teacher"] or {}).get("sha256") != sha256(TEACHER / WEIGHTS):
        sys.exit(f"{folder}: has another teacher than the one that ships")
    return dict(card)


def measured(folder: Path, card: dict[str, Any], name: str, seed: int) -> dict[str, Any]:
    started, used = time.perf_counter(), time.process_time()
    entry = compared(folder, untrained(recipe_of(name, seed)), "cpu", print)
    spent = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - used}
    run = {key: card[key] for key in ("steps", "train_s", "audio_h", "valid", "versions")}
    run["data"] = card["data"]["fingerprint"]
    return {"run": {**run, "weights_sha256": sha256(folder / WEIGHTS)}, "voices": entry, **spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--recipe", default="distilhubert")
    parser.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    found = Parts("starter")
    for seed in map(int, given.seeds.split(",")):
        name = f"{given.recipe}-seed-{seed}"
        folder = given.work / name
        card = trained(folder, given.recipe, seed)
        found.put(**{name.replace("-", "_"): measured(folder, card, given.recipe, seed)})


if __name__ == "__main__":
    main()
