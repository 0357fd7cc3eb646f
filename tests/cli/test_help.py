"""Help at 80 columns, what the shell completes, and that both load nothing heavy."""

import json
import re
import subprocess
import sys

import pytest
import typer
from rich.cells import cell_len

from speechpress.compressor.cli.help.looks import CHOICES_WIDE, GROUPS, choices
from speechpress.compressor.cli.main import COMMANDS, app

NAMES = (*((name,) for name in COMMANDS), ("study", "layers"), ())


def command_of(words):
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    return command


def help_of(words, monkeypatch):
    from typer.testing import CliRunner

    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0
    return done.output


def words_shown(text):
    return set(re.sub(r"[│╭╮╰╯─]|,(?=--)", " ", text).split())


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_no_word_of_the_help_is_broken_or_cut_at_80_columns(words, monkeypatch):
    text = help_of(words, monkeypatch)
    assert max(cell_len(line) for line in text.splitlines()) <= 80 and "…" not in text
    shown, command = words_shown(text), command_of(words)
    said = [command.help.split("\n\n")[0]] if command.help else []
    for parameter in command.params:
        said += [parameter.help or "", parameter.metavar or "", *parameter.opts[:1] * (parameter.opts[0][0] == "-")]
    lost = {word for text in said for word in text.split()} - shown
    assert not lost, lost


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
def test_flags_have_no_type_and_defaults_have_one_style(words, monkeypatch):
    text = help_of(words, monkeypatch)
    assert "<bool>" not in text and "list[" not in text and "range>" not in text
    # A default is said in its own brackets, so that it is found; the sentence before says what the option is.
    for parameter in command_of(words).params:
        assert not re.search(r"by default|\belse the\b|; else", parameter.help or ""), parameter.help


def test_options_stand_in_the_same_groups_everywhere():
    panels = {p.rich_help_panel for words in NAMES for p in command_of(words).params if p.opts[0].startswith("--")}
    assert panels <= {
        *(None, "Input", "Method", "Training", "Device", "Output"),
        *("ABX", "Batch job", "Checks", "Comparison", "Students", "Taught words", "Target size (exactly one)"),
    }
    assert {p.rich_help_panel for words in NAMES for p in command_of(words).params if p.name == "json"} == {"Output"}


def test_commands_are_listed_in_the_order_of_the_work(monkeypatch):
    text = help_of((), monkeypatch)
    order = [name for names in GROUPS.values() for name in names]
    assert {*order} == {*COMMANDS, "study"}
    places = [re.search(rf"^│ {name} ", text, re.M).start() for name in order]
    assert places == sorted(places)


def shown_choices(name, option):
    parameter = next(p for p in command_of((name,)).params if option in p.opts)
    listed = parameter.metavar.strip("[]").split("|")
    # What has no room beside the option stands in its help.
    return {*listed, *re.findall(r"[\w-]+", parameter.help)} - {"..."} if "..." in listed else {*listed}


def test_choices_that_help_shows_are_the_real_ones():
    from speechpress.compressor.cli.measure import PACES
    from speechpress.compressor.extract.options import DTYPES, FORMATS, WHATS
    from speechpress.compressor.heads.kinds import KINDS
    from speechpress.compressor.prune.options import METHODS
    from speechpress.compressor.search.rows import AXES
    from speechpress.compressor.targets import SCHEMES
    from speechpress.compressor.tasks.suites import SUITES
    from speechpress.compressor.teachers.convert import FORMATS as FORMS

    exact = {("profile", "--pace"): PACES, ("extract", "--what"): WHATS, ("extract", "--dtype"): DTYPES}
    exact |= {("search", "--against"): AXES, ("eval", "--suite"): SUITES}
    for (name, option), real in exact.items():
        assert shown_choices(name, option) == set(real), option
    among = {("prune", "--method"): METHODS, ("export", "--quantize"): SCHEMES, ("extract", "--format"): FORMATS}
    among |= {("quantize", "--scheme"): set(SCHEMES) - {"none"}, ("convert", "--to"): FORMS, ("head", "--task"): KINDS}
    for (name, option), real in among.items():
        assert set(real) <= shown_choices(name, option), option


def test_a_long_list_of_choices_is_shortened_between_names():
    assert choices("a", "b") == "[a|b]"
    found = choices("none", "tensorboard", "wandb", "trackio")
    assert found == "[none|tensorboard|...]" and len(found) <= CHOICES_WIDE


def completed(folder, line):
    """What bash is told for a line, and the modules that were loaded for it."""
    code = (
        "import sys; from speechpress.compressor.cli.main import app\n"
        "sys.argv = ['compress']\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    env = {"_COMPRESS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env={"PATH": "", **env}
    )
    return done.stdout.split("\n"), set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("compress distill --recipe dist", {"distilhubert", "distilhubert-streaming", "distill-last"}),
        ("compress export --target rasp", {"raspberry-pi"}),
        ("compress export --quantize int8-", {"int8-static", "int8-linear"}),
        ("compress profile --device ho", {"host"}),
        ("compress eval ru", {"runs/mine"}),
        ("compress profile bundles/", {"bundles/small"}),
        ("compress ls ta", {"targets"}),
    ],
)
def test_the_shell_completes_names_without_loading_anything_heavy(tmp_path, line, found):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").write_text("{}")
    (tmp_path / "bundles" / "small").mkdir(parents=True)
    (tmp_path / "bundles" / "small" / "bundle.json").write_text("{}")
    told, modules = completed(tmp_path, line)
    assert found <= set(told), told
    assert not modules & {"torch", "numpy", "transformers", "lhotse"}
