"""What ships with the package is what it says it is."""

from speechpress.compressor import starter
from speechpress.compressor.data.corpus import open_corpus
from speechpress.compressor.data.labels import label
from speechpress.compressor.models.checkpoint import read_json
from speechpress.compressor.recipe.files import load_recipe
from speechpress.compressor.teachers.load import load_teacher


def size_bytes(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_speech_is_there_in_five_languages():
    corpus = open_corpus(starter.SPEECH)
    assert corpus.hours * 60 >= 20 and not corpus.skipped
    assert {label(cut, "language") for cut in corpus.cuts} == {"en", "es", "fr", "it", "ru"}
    assert sum(path.stat().st_size for path in starter.SPEECH.rglob("*.opus")) <= 6_000_000
    assert "Creative Commons" in (starter.SPEECH / "copyright").read_text(encoding="utf-8", errors="replace")


def test_the_teacher_is_small_and_its_card_is_honest():
    teacher = load_teacher("starter").card
    assert (teacher.depth, teacher.width, teacher.hop_samples) == (6, 256, 320)
    assert teacher.supervised and teacher.family == "hubert" and teacher.format == "starter"
    assert size_bytes(starter.TEACHER) <= 12_000_000
    card = read_json(starter.TEACHER / "card.json")
    mini, log_mel = card["probes"]["hubert-mini"], card["probes"]["log-mel"]
    assert mini["ks"]["speaker_disjoint"] and mini["ks"]["test"] >= 0.88 > log_mel["ks"]["test"]
    assert mini["sid"]["test"] > log_mel["sid"]["test"] and mini["sid"]["weighted"]["test"] > log_mel["sid"]["test"]


def test_starter_settings_change_where_and_how_long_only():
    recipe, own = load_recipe("distilhubert", starter.settings(None)), load_recipe("distilhubert")
    assert recipe.match == own.match and recipe.student == own.student
    assert (recipe.train.lr, recipe.train.batch, recipe.train.crop_s) == (
        own.train.lr,
        own.train.batch,
        own.train.crop_s,
    )
    assert recipe.teacher == "hubert-mini" and recipe.train.steps == starter.STEPS
    assert load_recipe("distilhubert", ["teacher=x", *starter.settings("x")]).teacher == "x"
