import numpy as np
from matplotlib.image import imread

from speechpress.compressor.distill.metrics import MetricsLog, draw_run, plot_run
from speechpress.compressor.views.figures import SERIES


def log_of(path, steps):
    log = MetricsLog(path)
    for step in range(steps):
        layers = {"4": {"cosine": step / 10, "l1": 1.0}}
        log.write({"event": "train", "step": step + 1, "loss": 2.0 - step / 10, "layers": layers})
        log.write({"event": "valid", "step": step + 1, "layers": layers})
    return path


def test_a_run_becomes_a_picture_that_shows_its_curves(tmp_path):
    pictures = []
    for steps in (1, 8):
        plot_run(log_of(tmp_path / f"{steps}.jsonl", steps), tmp_path / f"{steps}.png")
        pictures.append(imread(tmp_path / f"{steps}.png"))
    assert pictures[0].shape == pictures[1].shape and min(pictures[0].shape[:2]) > 300
    assert np.abs(pictures[0] - pictures[1]).max() > 0.5


def test_a_run_without_a_line_still_plots(tmp_path):
    plot_run(log_of(tmp_path / "none.jsonl", 0), tmp_path / "none.png")
    assert (tmp_path / "none.png").stat().st_size > 1000


def test_a_step_that_says_nothing_of_a_layer_leaves_a_gap(tmp_path):
    log = MetricsLog(log_of(tmp_path / "gap.jsonl", 3))
    log.write({"event": "train", "step": 4, "loss": 0.0, "layers": {}})
    plot_run(log.path, tmp_path / "gap.png")
    assert (tmp_path / "gap.png").stat().st_size > 1000


def test_held_out_figures_are_points_and_axes_have_units(tmp_path):
    figure = draw_run(MetricsLog(log_of(tmp_path / "m.jsonl", 4)).read())
    left, right = figure.axes
    lines = {line.get_label(): line for line in right.lines}
    trained, held = lines["layer 4, training"], lines["layer 4, held out"]
    assert trained.get_linestyle() == "-" and held.get_linestyle() == "None" and held.get_marker() == "o"
    assert trained.get_color() == held.get_color() == SERIES[0]
    for panel in (left, right):
        assert panel.get_xlabel() == "training step" and "(" in panel.get_ylabel()
