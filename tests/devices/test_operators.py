import pytest

from speechpress.devices.etdump import Event, operators, readable, share_out, stage
from speechpress.runtime.errors import SpeechpressError

FIRST, SECOND = "encoder.layers.0", "encoder.layers.1"
LAYERS = {
    "kernels": {"native_layer_norm.out": ["encoder.layer_norm", f"{FIRST}.layer_norm"], "ge.Scalar_out": ["stream"]},
    "partitions": [
        ["feature_extractor.conv_layers.0.0.conv"],
        [f"{FIRST}.attention.q_proj", f"{FIRST}.attention", f"{SECOND}.feed_forward.output_dense"],
    ],
}
EVENTS = [
    Event("Copy (NC, X32) #1", 0.1, True),
    Event("Convolution (NHWC, F32) IGEMM #1", 2.0, True),
    Event("DELEGATE_CALL", 2.2, False),
    Event("native_call_native_layer_norm.out", 0.3, False),
    Event("native_call_ge.Scalar_out", 0.1, False),
    Event("Fully Connected (NC, F32) GEMM #1", 1.0, True),
    Event("GELU (NC) #1", 0.2, True),
    Event("Batch Matrix Multiply (NC, F32) GEMM #1", 0.5, True),
    Event("Fully Connected (NC, F32) GEMM #2", 1.5, True),
    Event("DELEGATE_CALL", 3.2, False),
    Event("native_call_native_layer_norm.out", 0.3, False),
]


def test_time_inside_and_outside_of_the_backend():
    found = share_out(EVENTS, LAYERS)
    assert found["total_ms"] == pytest.approx(2.2 + 3.2 + 0.7) and found["outside_ms"] == pytest.approx(0.7)
    assert found["outside_share"] == pytest.approx(0.7 / 6.1) and found["known_share"] == pytest.approx(1.0)
    by_operator = {(row["operator"], row["where"]): row for row in found["by_operator"]}
    linear = by_operator["Fully Connected (NC, F32) GEMM", "backend"]
    assert linear["ms"] == pytest.approx(2.5) and linear["calls"] == 2
    assert by_operator["native_layer_norm", "outside"]["calls"] == 2
    assert by_operator["(calling the backend)", "backend"]["ms"] == pytest.approx(0.1)
    assert found["by_operator"][0] == linear  # the costliest first


def test_time_by_layer():
    by_layer = {row["layer"]: row for row in share_out(EVENTS, LAYERS)["by_layer"]}
    assert by_layer["front end"]["ms"] == pytest.approx(2.2)
    assert by_layer["layer 1"]["ms"] == pytest.approx(1.0 + 0.2 + 0.5 + 0.3)
    assert by_layer["layer 1"]["outside_ms"] == pytest.approx(0.3)
    assert by_layer["layer 2"]["ms"] == pytest.approx(1.5) and by_layer["encoder norm"]["ms"] == pytest.approx(0.3)
    assert by_layer["streaming state"]["ms"] == pytest.approx(0.1)


def test_time_by_module_has_the_names_of_the_checkpoint():
    found = share_out(EVENTS, LAYERS)
    by_module = {row["module"]: row["ms"] for row in found["by_module"]}
    assert by_module["feature_extractor.conv_layers.0.0.conv"] == pytest.approx(2.2)
    assert by_module[f"{FIRST}.attention.q_proj"] == pytest.approx(1.2)
    assert sum(by_module.values()) == pytest.approx(found["total_ms"])
    assert share_out(EVENTS, None)["by_module"][0]["module"] == "not known"


def test_counts_that_do_not_agree_name_no_layer():
    wrong = {**LAYERS, "partitions": [[], ["encoder.layers.0.attention.q_proj"]]}
    found = share_out(EVENTS, wrong)
    assert found["known_share"] == pytest.approx(0.7 / 6.1)
    assert share_out(EVENTS, None)["known_share"] == 0.0
    assert found["total_ms"] == pytest.approx(share_out(EVENTS, LAYERS)["total_ms"])


def test_names_for_people():
    assert readable("Fully Connected (NC, F32) GEMM #12") == "Fully Connected (NC, F32) GEMM"
    assert readable("ge.Scalar_out") == "ge.Scalar" and readable("native_layer_norm.out") == "native_layer_norm"
    assert stage("encoder.layers.11.attention.q_proj") == "layer 12" and stage("stream") == "streaming state"
    assert stage("encoder.pos_conv_embed.conv.conv") == "position convolution"


def test_what_is_no_trace(tmp_path):
    path = tmp_path / "trace.etdp"
    path.write_bytes(b"no trace at all, but long enough to be looked at")
    with pytest.raises(SpeechpressError, match="is not a trace"):
        operators(path, LAYERS)


def test_time_of_heads_has_their_names():
    layers = {
        "kernels": {"argmin.out": ["heads.units"]},
        "partitions": [["heads._norm", "heads.phones.classify", "heads.turns.stack.convs.0.conv.flat"]],
    }
    events = [Event("Fully Connected (NC, F32) GEMM #1", ms, True) for ms in (1.0, 2.0, 3.0)]
    found = share_out(
        [*events, Event("DELEGATE_CALL", 6.0, False), Event("native_call_argmin.out", 4.0, False)], layers
    )
    wanted = {"head units": 4.0, "head turns": 3.0, "head phones": 2.0, "norm for all heads": 1.0}
    assert {row["layer"]: row["ms"] for row in found["by_layer"]} == pytest.approx(wanted)
