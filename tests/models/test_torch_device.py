import pytest
import torch

from speechpress.compressor.models.torch_device import check_device
from speechpress.runtime.errors import SpeechpressError


def test_a_device_that_is_there_is_taken():
    assert check_device("cpu") == "cpu"
    assert check_device("auto") in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "GPU", "tpu", "", "cuda:0", "cuda:99", "meta"])
def test_any_other_word_is_an_error_with_the_words_that_there_are(name):
    with pytest.raises(SpeechpressError, match=f"--device {name}: must be one of auto, cpu, cuda, mps"):
        check_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(SpeechpressError, match="this PyTorch sees no CUDA device; use --device cpu"):
        check_device("cuda")


@pytest.mark.parametrize(
    "words",
    [
        ("distill", "--recipe", "distilhubert", "--starter"),
        ("eval", "hubert-mini"),
        ("study", "layers", "hubert-mini"),
    ],
    ids=["distill", "eval", "study"],
)
def test_every_command_says_it_in_one_line(cli, words):
    done = cli(*words, "--device", "gpu", env={"COLUMNS": "300"})
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "--device gpu: must be one of" in done.stderr, done.stderr
