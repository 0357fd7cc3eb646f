"""What the README says is supported: every recipe meets a teacher of each kind, live and not."""

import re
from pathlib import Path

import pytest
import transformers
from tiny_models import save, tiny

from speechpress.compressor.distill.plan import plan
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.targets import TARGETS
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAD = (
    "| recipe | HuBERT, wav2vec 2.0, WavLM, data2vec, MMS, conformers | Whisper's and other encoders of `transformers` "
    "| live |"
)
WHISPER = {
    **{"d_model": 64, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 8},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "pad_token_id": 0},
    **{"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}


def rows():
    block = README.split(HEAD, 1)[1].split("\n\n", 1)[0]
    for line in block.strip().splitlines()[1:]:
        recipes, hubert, whisper, live = (cell.strip() for cell in line.strip("|").split("|"))
        for recipe in re.findall(r"`([\w-]+)`", recipes):
            yield recipe, hubert, whisper, live


ROWS = list(rows())


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    other = transformers.WhisperModel(transformers.WhisperConfig(**WHISPER))
    models = {"hubert": tiny("hubert"), "whisper": other}
    return {name: load_teacher(save(model, folder / name)) for name, model in models.items()}


def works(recipe, teacher, *changes):
    try:
        plan(load_recipe(recipe, changes), teacher)
    except SpeechpressError as error:
        return str(error)
    return True


def test_the_table_has_every_recipe_once_and_every_target():
    shipped = {path.stem for path in (ROOT / "recipes").glob("*.yaml")}
    assert sorted(shipped) == sorted(row[0] for row in ROWS)
    assert [each.name for each in TARGETS if f"`{each.name}`" not in README] == []


@pytest.mark.parametrize(("recipe", "hubert", "whisper", "live"), ROWS, ids=[row[0] for row in ROWS])
def test_a_recipe_takes_the_teachers_and_streams_as_the_table_says(recipe, hubert, whisper, live, teachers):
    assert hubert == "yes" and works(recipe, teachers["hubert"]) is True
    change = re.findall(r"--set ([\w.=]+)", whisper)
    plain = works(recipe, teachers["whisper"])
    assert (plain is True) == (not change), plain
    assert works(recipe, teachers["whisper"], *change) is True
    streams = re.findall(r"--set ([\w.=]+)", live)
    assert (load_recipe(recipe).streaming is None) == bool(streams)
    assert works(recipe, teachers["hubert"], *streams) is True
