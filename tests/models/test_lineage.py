from speechpress.compressor.models.checkpoint import ancestry, inherited_pruning, sha256, write_json


def folder(path, card):
    path.mkdir()
    (path / "model.safetensors").write_bytes(path.name.encode())
    write_json(path / "card.json", card)
    return str(path)


def test_parents_are_told_the_nearest_first(tmp_path):
    first = folder(tmp_path / "a", {"recipe": {"name": "pocket"}, "steps": 7})
    second = folder(tmp_path / "b", {"parents": ancestry(first), "prune": {"method": "taylor"}, "steps": 7})
    found = ancestry(second)
    assert [parent["path"] for parent in found] == [second, first]
    assert found[1]["sha256"] == sha256(tmp_path / "a" / "model.safetensors") and found[1]["recipe"] == "pocket"
    assert inherited_pruning(found) == {"method": "taylor"}


def test_a_student_of_a_teacher_has_no_parents(tmp_path):
    assert ancestry("teacher") == ancestry("random") == ancestry(str(tmp_path)) == []
    assert inherited_pruning([]) is None
