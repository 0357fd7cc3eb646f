"""`compress eval --s3prl`: the commands with which s3prl runs the full SUPERB on a student.

They follow s3prl's own document of its benchmark (s3prl/downstream/docs/superb.md): names of tasks and folders, keys of
the configs, and which checkpoint is tested.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechpress.runtime.bundle import is_bundle
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.hub.ids import name_of, named_on_hub

from ..models.checkpoint import load_checkpoint
from ..models.encoder import Encoder
from ..teachers.convert import not_distiller, not_hubert

CORPORA = "$CORPORA"


@dataclass(frozen=True)
class Way:
    """How s3prl opens a student: the format of `compress convert`, the upstream there, how the file's name ends."""

    format: str
    upstream: str
    suffix: str


DISTILLER = Way("s3prl", "distiller_local", ".ckpt")
HUBERT = Way("s3prl-hubert", "hubert_custom", ".pt")
TRANSFORMERS = Way("transformers", "hf_hubert_custom", "-hf")


@dataclass(frozen=True)
class Run:
    """One task there: `-d`, what is prepared first, keys of its config with paths below the corpora, what is tested.

    `test` is the command after training; "{exp}" is the experiment's name, "{corpora}" where the corpora lie.
    """

    what: str
    downstream: str
    keys: dict[str, str]
    config: str = ""
    prepare: tuple[str, ...] = ()
    test: tuple[str, ...] = ("python run_downstream.py -m evaluate -e result/downstream/{exp}/dev-best.ckpt",)


RUNS = {
    "pr": Run(
        "PR: phonemes of LibriSpeech",
        "ctc",
        {"config.downstream_expert.corpus.path": "LibriSpeech"},
        "downstream/ctc/libriphone.yaml",
    ),
    "asr": Run(
        "ASR: LibriSpeech, without a language model",
        "asr",
        {"config.downstream_expert.datarc.libri_root": "LibriSpeech"},
        prepare=(
            "python preprocess/generate_len_for_bucket.py -i {corpora}/LibriSpeech -o data/librispeech -a .flac "
            "--n_jobs 12",
        ),
        test=('python run_downstream.py -m evaluate -t "test-clean" -e result/downstream/{exp}/dev-clean-best.ckpt',),
    ),
    "ks": Run(
        "KS: Speech Commands v0.01",
        "speech_commands",
        {
            "config.downstream_expert.datarc.speech_commands_root": "speech_commands_v0.01",
            "config.downstream_expert.datarc.speech_commands_test_root": "speech_commands_test_set_v0.01",
        },
    ),
    "sid": Run("SID: VoxCeleb1", "voxceleb1", {"config.downstream_expert.datarc.file_path": "VoxCeleb1"}),
    "asv": Run(
        "ASV: VoxCeleb1; every saved step is tested, the best one counts",
        "sv_voxceleb1",
        {"config.downstream_expert.datarc.file_path": "VoxCeleb1"},
        test=("./downstream/sv_voxceleb1/test_expdir.sh result/downstream/{exp} {corpora}/VoxCeleb1",),
    ),
    "sd": Run(
        "SD: Libri2Mix, by s3prl's fork of LibriMix; the score needs dscore, named in downstream/diarization/score.sh",
        "diarization",
        {},
        prepare=(
            "git clone https://github.com/s3prl/LibriMix.git",
            "(cd LibriMix && bash generate_librimix_sd.sh {corpora})",
            "python LibriMix/scripts/prepare_diarization.py --target_dir downstream/diarization/data "
            "--source_dir {corpora}/Libri2Mix/wav16k/max/metadata",
        ),
        test=(
            "python run_downstream.py -m evaluate -e result/downstream/{exp}/best-states-dev.ckpt",
            "./downstream/diarization/score.sh result/downstream/{exp} downstream/diarization/data/test",
        ),
    ),
    "ic": Run(
        "IC: Fluent Speech Commands",
        "fluent_commands",
        {"config.downstream_expert.datarc.file_path": "fluent_speech_commands_dataset"},
    ),
    "sf": Run(
        "SF: Audio SNIPS",
        "ctc",
        {
            "config.downstream_expert.corpus.path": "SNIPS",
            "config.downstream_expert.text.slots_file": "SNIPS/slots.txt",
        },
        "downstream/ctc/snips.yaml",
    ),
}
FOLDS = ("fold1", "fold2", "fold3", "fold4", "fold5")


def s3prl_plan(source: str | Path, data_root: str | Path | None = None) -> dict[str, Any]:
    """The whole run as steps of commands, to be started in s3prl's folder that holds run_downstream.py.

    Args:
        source: a checkpoint folder.
        data_root: where the corpora lie; else the variable CORPORA is set in the first step.

    Returns:
        {"upstream", "format", "file", "steps": [{"task", "what", "commands"}], "notes"}.

    Raises:
        SpeechpressError: the source is a bundle, or s3prl has no model that computes what this one does.
    """
    if is_bundle(source):
        raise SpeechpressError(
            f"{source}: a bundle runs in ExecuTorch, which s3prl does not know; give the checkpoint that it was made "
            "of, or measure the bundle itself with --suite superb"
        )
    # The commands run in s3prl's folder, where a relative path means another place.
    folder = Path(source if named_on_hub(source) is None else name_of(source)).resolve()
    encoder = load_checkpoint(source).encoder
    way, reasons = choose_way(encoder, str(source))
    name, file = folder.name, folder.parent / f"{folder.name}{way.suffix}"
    # The variable is not quoted: the shell is to expand it.
    corpora = CORPORA if data_root is None else shlex.quote(str(Path(data_root).resolve()))
    upstream = f"-u {way.upstream} -k {shlex.quote(str(file))}"
    to = "" if way is DISTILLER else f" --to {way.format}"
    first = [] if data_root is not None else ["export CORPORA=/where/your/corpora/lie"]
    convert = f"compress convert {shlex.quote(str(folder))} {shlex.quote(str(file))}{to}"
    steps = [{"task": None, "what": "the student for s3prl", "commands": [*first, convert]}]
    steps += [_step(task, run, upstream, f"{name}-{task}", corpora) for task, run in RUNS.items()]
    steps += [_emotions(upstream, name, corpora), _queries(upstream, name, corpora, encoder.config.num_layers)]
    notes = [
        "run these in the folder s3prl/s3prl of a clone of s3prl, beside run_downstream.py",
        "learning rates are s3prl's own; SUPERB allows a sweep per task: add -o config.optimizer.lr=1.0e-3, say",
        *(f"not as a Distiller: {reason}" for reason in reasons),
    ]
    return {"upstream": way.upstream, "format": way.format, "file": str(file), "steps": steps, "notes": notes}


def choose_way(encoder: Encoder, where: str) -> tuple[Way, list[str]]:
    """The first way that computes the same, and why it is not the Distiller; raises SpeechpressError without one."""
    if encoder.config.streams_only_here:
        raise SpeechpressError(
            f"{where}: streams, and s3prl has no counterpart of that, so it cannot run SUPERB on it. Measure it here, "
            "as it streams, with --suite superb --data-root DIR, or take the offline student that it comes from"
        )
    reasons = not_distiller(encoder)
    if not reasons:
        return DISTILLER, []
    other = not_hubert(encoder)
    if not other:
        return HUBERT, reasons
    try:
        encoder.config.to_hubert()
    except SpeechpressError as error:
        raise SpeechpressError(
            f"{where}: s3prl has no model that computes what this one does ({'; '.join(reasons)}; {error}). Measure it "
            "here with --suite superb --data-root DIR"
        ) from error
    return TRANSFORMERS, reasons


def _step(task: str, run: Run, upstream: str, exp: str, corpora: str) -> dict[str, Any]:
    config = f" -c {run.config}" if run.config else ""
    train = f"python run_downstream.py -m train -n {exp} {upstream} -d {run.downstream}{config}"
    train += _override({key: f"{corpora}/{path}" for key, path in run.keys.items()})
    rest = [line.format(exp=exp, corpora=corpora) for line in run.test]
    prepare = [line.format(exp=exp, corpora=corpora) for line in run.prepare]
    return {"task": task, "what": run.what, "commands": [*prepare, train, *rest]}


def _override(values: dict[str, str]) -> str:
    # s3prl splits its overrides at two commas.
    return ' -o "' + ",,".join(f"{key}={value}" for key, value in values.items()) + '"' if values else ""


def _emotions(upstream: str, name: str, corpora: str) -> dict[str, Any]:
    commands = []
    for fold in FOLDS:
        keys = {
            "config.downstream_expert.datarc.root": f"{corpora}/IEMOCAP",
            "config.downstream_expert.datarc.test_fold": f"'{fold}'",
        }
        exp = f"{name}-er-{fold}"
        commands.append(f"python run_downstream.py -m train -n {exp} {upstream} -d emotion{_override(keys)}")
        commands.append(f"python run_downstream.py -m evaluate -e result/downstream/{exp}/dev-best.ckpt")
    return {"task": "er", "what": "ER: IEMOCAP; the score is the mean of five folds", "commands": commands}


def _queries(upstream: str, name: str, corpora: str, layers: int) -> dict[str, Any]:
    keys = {
        "config.downstream_expert.dtwrc.dist_method": "cosine_exp",
        "config.downstream_expert.datarc.dataset_root": f"{corpora}/quesst14Database",
    }
    # Scoring runs in the corpus' folder, from which the results have to be found.
    commands = ["S3PRL=$PWD"]
    for layer in range(layers + 1):
        # What s3prl calls test is eval in QUESST14.
        for split, truth in (("dev", "dev"), ("test", "eval")):
            exp = f"{name}-qbe-{layer}-{split}"
            commands.append(
                f'python run_downstream.py -m evaluate -t "{split}" {upstream} -l {layer} -d quesst14_dtw -n {exp}'
                + _override(keys)
            )
            commands.append(
                f"(cd {corpora}/quesst14Database/scoring && ./score-TWV-Cnxe.sh $S3PRL/result/downstream/{exp} "
                f"groundtruth_quesst14_{truth} -10)"
            )
    what = "QbE: QUESST14, English; the layer with the best MTWV on dev counts"
    return {"task": "qbe", "what": what, "commands": commands}
