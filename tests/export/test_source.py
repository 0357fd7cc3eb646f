import shutil

import pytest

from speechpress.compressor.export.source import open_source
from speechpress.compressor.models.checkpoint import load_checkpoint
from speechpress.compressor.teachers.load import load_teacher
from speechpress.runtime.errors import SpeechpressError


def test_names_come_from_the_folder_so_that_they_do_not_collide(small_checkpoint, tmp_path):
    """Both have the same recipe; their bundles must not have the same name."""
    for name in ("wpocket", "wpocket-pruned"):
        shutil.copytree(small_checkpoint, tmp_path / name)
        assert open_source(tmp_path / name).name == name


@pytest.mark.parametrize("read", [open_source, load_checkpoint, lambda folder: load_teacher(str(folder))])
def test_a_bundle_is_told_as_one(small_bundle, read):
    with pytest.raises(SpeechpressError, match=r"is a bundle.*checkpoint that it") as caught:
        read(small_bundle)
    assert "config.json" not in str(caught.value)


def test_a_path_that_is_not_there(tmp_path):
    for place in (tmp_path / "nope", "runs/a/b", "./runs"):
        with pytest.raises(SpeechpressError, match="there is no such file or folder") as caught:
            open_source(place)
        assert "hub" not in str(caught.value) and "starter" not in str(caught.value)


def test_weights_without_a_card_are_not_exported_without_a_lineage(small_checkpoint, tmp_path):
    shutil.copytree(small_checkpoint, tmp_path / "killed")
    (tmp_path / "killed" / "card.json").unlink()
    with pytest.raises(SpeechpressError, match=r"has no card\.json"):
        open_source(tmp_path / "killed")
