import pytest

from speechpress.compressor.cli.show import ls_targets, show
from speechpress.compressor.export.backends import PARTITIONERS
from speechpress.compressor.targets import BACKENDS, SCHEMES, TARGETS, TOLERANCES, check_scheme, target_of
from speechpress.runtime import engine
from speechpress.runtime.errors import SpeechpressError


def test_every_target_can_be_built():
    assert {"host", "android", "raspberry-pi", "linux-arm64", "ios", "macos"} <= {target.name for target in TARGETS}
    for target in TARGETS:
        assert target.backend in BACKENDS and target.quantize in target.schemes
        assert set(target.schemes) <= set(SCHEMES) and set(target.schemes) <= set(target.tolerances)
        assert target.chunks_ms and all(chunk_ms % 20 == 0 for chunk_ms in target.chunks_ms)
        assert target.runs_here == (target.backend in ("xnnpack", "onnx"))
    assert set(TOLERANCES) == set(SCHEMES)


def test_a_backend_has_a_row_a_compiler_and_a_name_in_the_runtime():
    lowered = {name for name, backend in BACKENDS.items() if backend.runtime == "executorch"}
    assert lowered == set(PARTITIONERS) == set(engine.BACKENDS)
    assert set(BACKENDS) - lowered == {"onnx"}


def test_a_misspelt_target_is_guessed_but_not_taken():
    with pytest.raises(SpeechpressError, match="Did you mean 'android'"):
        target_of("andriod")
    with pytest.raises(SpeechpressError, match="Targets: host"):
        target_of("toaster")


def test_a_target_is_found_by_the_name_that_it_had():
    assert target_of("android-vulkan") is target_of("android-gpu")


def test_a_quantisation_that_the_backend_cannot_run_is_refused():
    with pytest.raises(SpeechpressError, match=r"cannot be run by the backend coreml.*can run: none"):
        check_scheme(target_of("ios-coreml"), "int8")
    with pytest.raises(SpeechpressError, match="Did you mean 'int8-linear'"):
        check_scheme(target_of("host"), "int8-liner")


def test_targets_are_listed_and_shown():
    assert [item["name"] for item in ls_targets()] == [target.name for target in TARGETS]
    assert show("android")["kind"] == "target" and show("android")["quantize"] == "int8"


def test_the_commands_show_them(cli):
    assert "android-gpu" in cli("ls", "targets").stdout
    assert "xnnpack" in cli("show", "raspberry-pi").stdout
