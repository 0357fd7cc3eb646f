import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import constants
from rich.console import Console
from tiny_models import save, tiny

from speechpress.compressor.cli.show import KINDS, ls, show, show_checkpoint, show_recipe
from speechpress.compressor.cli.show_tables import ls_table, show_table
from speechpress.compressor.models.checkpoint import config_document
from speechpress.compressor.models.config import EncoderConfig
from speechpress.compressor.recipe.files import load_recipe, recipe_names
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError

DATA = Path(__file__).parents[1] / "fixtures"
FIELDS = ("parameters", "macs_per_s", "receptive_field_ms", "lookahead_ms", "chunk_ms", "size_bytes")


def printed(renderable, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_show_distilhubert_tells_the_published_figures() -> None:
    info = show("distilhubert")
    assert json.loads(json.dumps(info)) == info
    assert all(name in info for name in FIELDS)
    assert info["chunk_ms"] is info["lookahead_ms"] is info["receptive_field_ms"] is None
    text = printed(show_table(info))
    for wanted in (
        "23.49 M  (teacher 94.7 M)",
        "3.42 GMAC/s  (teacher 6.96 GMAC/s)",
        "94.37 M",
        "3.54 M",
        "no: conv_norm is 'group', a norm over the whole recording",
    ):
        assert wanted in text
    assert "fp32 94.0 MB, fp16 47.0 MB, int8 23.6 MB" in text
    assert "teacher layers 4, 8, 12" in text


def test_show_sets_what_was_published_beside_what_is_counted_here() -> None:
    text = printed(show_table(show("fithubert")))
    assert "22.49 M parameters; counted the same way, 22.49 M here, with the last layer's projection" in text
    counted = "1.41 GMAC/s; counted the same way, 1.41 GMAC/s here"
    assert f"{counted}, with the last layer's projection, with attention over 6.5 s" in text
    assert "time reduction" in text and "a frame every 40 ms" in text
    assert "projections of 9.97 M parameters, dropped later" in text and "1 x squared difference" in text
    assert show("pocket")["published"] is None and "counted the same way" not in printed(show_table(show("pocket")))
    relations = printed(show_table(show("starhubert")))
    assert "1 x temporal relations, 1 x temporal relations across layers" in relations and "no heads" in relations


def test_show_tells_what_only_the_student_hears(tmp_path: Path) -> None:
    changed = load_recipe("distilhubert", ["hear.mask_prob=0.4", "hear.noise_prob=0.5", "hear.noise=[pink,babble]"])
    (tmp_path / "mine.yaml").write_text(changed.text())
    text = printed(show_table(show(str(tmp_path / "mine.yaml"))))
    assert "40% of the frames masked for the student only" in text
    assert "pink, babble under 50% of the recordings, 5 to 20 dB below" in text
    assert "student hears" not in printed(show_table(show("distilhubert")))


def test_show_the_baselines() -> None:
    same = ("parameters", "macs_per_s", "size_bytes", "encoder", "teacher")
    whole, last, hidden = (show(name) for name in ("distilhubert", "distill-last", "distill-hidden"))
    for info in (last, hidden):
        assert all(info[name] == whole[name] for name in same)
    assert whole["training_only_parameters"] == 3_543_552
    assert last["training_only_parameters"] == 3_543_552 / 3
    assert hidden["training_only_parameters"] == 0
    assert "0 -> 4, 1 -> 8, 2 -> 12; no heads" in printed(show_table(hidden))


def test_show_with_another_teacher_says_what_changes() -> None:
    info = show_recipe(load_recipe("distilhubert", ["teacher=openai/whisper-base"]))
    assert (info["match"]["layers"], info["width"]) == ([2, 4, 6], 512)
    text = printed(show_table(info))
    assert "layers 4, 8, 12 of 12 -> 2, 4, 6 of 6" in text
    assert "no waveform front end" in text


def test_show_with_an_unknown_teacher_says_so() -> None:
    info = show_recipe(load_recipe("distilhubert", ["teacher=someone/thing"]))
    assert info["parameters"] == 23_491_968
    assert "someone/thing has not been loaded" in printed(show_table(info))


def test_show_refuses_a_layer_that_the_teacher_lacks() -> None:
    with pytest.raises(SpeechpressError, match=r"match\.layers has 13, but the teacher has 12 layers"):
        show_recipe(load_recipe("distilhubert", ["match.layers=[13]"]))


def test_show_a_checkpoint(tmp_path: Path) -> None:
    config = replace(EncoderConfig(conv_norm="layer"), num_heads=(), ffn_widths=())
    (tmp_path / "config.json").write_text(json.dumps(config_document(config)))
    info = show(str(tmp_path))
    assert (info["kind"], info["receptive_field_ms"], info["lookahead_ms"]) == ("checkpoint", 2565.0, 1265.0)
    assert "2565 ms; front end alone 25 ms" in printed(show_table(info))
    card = {"recipe": {"name": "mine"}, "teacher": {"source": "a/b"}, "steps": 7, "notes": ["a thing was said"]}
    (tmp_path / "card.json").write_text(json.dumps(card))
    text = printed(show_table(show_checkpoint(tmp_path)))
    assert all(word in text for word in ("mine", "a/b", "7", "note: a thing was said"))
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(SpeechpressError, match=r"card\.json: cannot be read as JSON"):
        show_checkpoint(tmp_path)


def test_show_what_is_not_there(tmp_path: Path) -> None:
    for thing, wanted in (
        (str(tmp_path), "is not a checkpoint"),
        ("distilhuber", "Did you mean 'distilhubert'"),
        ("someone/unknown", "no teacher of this name is known"),
        (str(tmp_path / "x.yaml"), "there is no such file"),
    ):
        with pytest.raises(SpeechpressError, match=wanted):
            show(thing)


def test_show_a_teacher() -> None:
    info = show("facebook/hubert-base-ls960")
    assert (info["kind"], info["parameters"], info["published_parameters"]) == ("teacher", 94_371_712, 94_697_600)
    assert "94.37 M parameters (94.70 M with its pre-training heads" in printed(show_table(info))


def test_ls() -> None:
    listing = ls()
    assert tuple(listing) == KINDS
    assert [item["name"] for item in listing["recipes"]] == recipe_names()
    assert ls("recipes") == {"recipes": listing["recipes"]}
    assert json.loads(json.dumps(listing)) == listing
    text = printed(ls_table({**listing, "targets": []}))
    assert "targets: none yet" in text and "microsoft/wavlm-base-plus" in text
    with pytest.raises(SpeechpressError, match=r"'recipe' cannot be listed\. Kinds: recipes"):
        ls("recipe")


def test_show_describes_every_teacher_that_distill_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of other toolkits, folders of any family, configs that leave out defaults, and what lies in the cache."""
    conformer = save(tiny("wav2vec2-conformer"), tmp_path / "conformer", do_normalize=True)
    sparse = save(tiny("hubert"), tmp_path / "sparse", do_normalize=True)
    config = json.loads((tmp_path / "sparse" / "config.json").read_text())
    del config["conv_stride"], config["conv_kernel"]  # transformers' own defaults
    (tmp_path / "sparse" / "config.json").write_text(json.dumps(config))
    nameless = tmp_path / "hubert_base"
    shutil.copy(DATA / "fairseq_hubert_base.pt", nameless)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--someone--thing"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    save(tiny("wavlm"), cached / "snapshots" / ("0" * 40), do_normalize=True)
    sources = [conformer, sparse, nameless, "someone/thing", *sorted(DATA.glob("*.pt"))]
    for source in map(str, sources):
        info = show(source)
        card = load_teacher(source).card
        assert (info["kind"], info["source"], info["family"]) == ("teacher", source, card.family)
        assert (info["layers"], info["width"], info["parameters"]) == (card.depth, card.width, card.parameters)
        assert json.loads(json.dumps(info)) == info
        text = printed(show_table(info), 400)
        assert all(note in text for note in card.notes)
        assert ("takes the waveform normalised" in text) == card.normalize_input
    assert show(str(DATA / "fairseq_hubert_base.pt"))["macs_per_s"] > 0
    assert show(conformer)["macs_per_s"] is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.pt", b"nonsense", "a.pt: (truncated|not a checkpoint|damaged)"),
        ("b.ckpt", b"", "b.ckpt: the file is empty"),
        ("c", b"PK\x03\x04 cut off", "c: the file is truncated"),
        ("d.safetensors", b"x", "d.safetensors: holds weights only; give its folder"),
        ("e.yaml", b"\xff\xfe", "e.yaml.*UTF-8"),
        ("f.txt", b"name: [", "f.txt"),
    ],
)
def test_show_a_file_that_is_nothing(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpeechpressError, match=said):
        show(str(tmp_path / name))


def test_show_a_name_of_torchaudio_downloads_nothing() -> None:
    assert show("torchaudio:HUBERT_BASE")["parameters"] == 94_371_712
    with pytest.raises(SpeechpressError, match="torchaudio would have to download it"):
        show("torchaudio:HUBERT_ASR_LARGE")


def test_show_a_recipe_for_a_teacher_that_must_be_loaded(tmp_path: Path) -> None:
    folder = save(tiny("wav2vec2-conformer"), tmp_path, do_normalize=True)
    info = show_recipe(load_recipe("distilhubert", [f"teacher={folder}"]))
    assert any("has not been loaded" in note for note in info["notes"])
