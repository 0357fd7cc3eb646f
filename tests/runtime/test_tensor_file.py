import numpy as np
import pytest
from safetensors.numpy import save_file

from speechpress.runtime.tensor_file import read_tensors


def test_reads_what_safetensors_writes(tmp_path):
    written = {
        "audio": np.arange(7, dtype=np.float32),
        "frames": np.ones((3, 2), np.float32),
        "end": np.array([5], np.int64),
        "nothing": np.zeros((0, 4), np.float32),
    }
    save_file(written, tmp_path / "a.safetensors", metadata={"format": "np"})
    read = read_tensors(tmp_path / "a.safetensors")
    assert read.keys() == written.keys()
    for name, array in written.items():
        assert np.array_equal(read[name], array) and read[name].dtype == array.dtype
        assert read[name].flags.writeable


@pytest.mark.parametrize("kept_bytes", [0, 4, 30, 150])
def test_a_file_that_was_cut_short(tmp_path, kept_bytes):
    path = tmp_path / "a.safetensors"
    save_file({"audio": np.arange(99, dtype=np.float32)}, path)
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with pytest.raises(ValueError, match=r"truncated|Expecting|Unterminated|delimiter"):
        read_tensors(path)
