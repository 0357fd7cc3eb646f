"""Writes tests/fixtures/answers: for each kind of head outputs, and the events that all languages must give.

    python tests/runtime_answers/answer_vectors.py

`chunks` are the frames of each step; an output per frame is cut into them, one per chunk has a row for each. `events`
has a list for each step and one for the end, partial ones included, as `Event.to_dict` has them.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from speechpress.runtime.answers.decode import decoder_of
from speechpress.runtime.answers.head_spec import HeadSpec

FOLDER = Path(__file__).parents[1] / "fixtures" / "answers"
STEPS = 64  # of an output's unit: exact in float32, and short in JSON


def played(spec, outputs, chunks):
    """The events of each step of a recording whose frames come in such chunks, and of its end; and the last state."""
    decoder = decoder_of(spec)
    state, events, at = decoder.initial_state(), [], 0
    by_chunk = "chunk" in spec.outputs.values()
    for index, frames in enumerate(chunks):
        rows = slice(index, index + 1) if by_chunk else slice(at, at + frames)
        at += frames
        cut = {name: np.asarray(x, np.float32)[rows] for name, x in outputs.items()}
        found, state = decoder.step(cut, at if by_chunk else at - frames, state)
        events.append(found)
    return [*events, decoder.finish(state)], state


def logits(labels, width, high=4.0, rest=0.0):
    """Rows with one column above the others, by the column's number; None: all alike."""
    x = np.full((len(labels), width), rest)
    for row, label in zip(x, labels, strict=True):
        if label is not None:
            row[label] = high
    return x


def noise(seed, frames, width, scale=3.0):
    return np.random.default_rng(seed).normal(0, scale, (frames, width))


def text(letters, labels, high=4.0):
    """ "_aa_b" -> logits, "_" for the blank."""
    return logits([0 if letter == "_" else labels.index(letter) for letter in letters], len(labels), high)


def classify():
    spec = HeadSpec("mood", "classify", ("calm", "angry", "glad"), (3,), decoder={"window_s": 0.1})
    two = replace(spec, labels=("ja", "não ✓"), widths=(2,), threshold=0.75)
    flat = [0.0, 1.0]
    yield "a change of label", spec, logits([0] * 8 + [1] * 12, 3), [3, 3, 3, 11]
    yield "an empty recording", spec, logits([], 3), [0]
    yield "one frame", spec, logits([2], 3), [1]
    yield "shorter than the window, so only the clip's answer", spec, logits([2] * 4, 3), [2, 2]
    yield "ties go to the first label", spec, logits([None] * 12, 3), [12]
    yield "a score at the threshold is an answer", replace(two, threshold=0.5), [[0, 0]] * 7, [7]
    yield "below the threshold nothing is said", two, [flat] * 9, [4, 5]
    yield "below the threshold, then above it, then below", two, [flat] * 6 + [[0, 6]] * 6 + [flat] * 9, [5, 5, 11]
    regular = replace(spec, decoder={"window_s": 0.2, "every_s": 0.1, "clip": False})
    yield "an answer every 100 ms", regular, noise(1, 33, 3), [7, 7, 7, 7, 5]
    yield "by logits", replace(spec, decoder={"window_s": 0.06, "score": "logit"}), noise(2, 25, 3), [8, 8, 9]
    yield "a window that comes round many times", replace(spec, decoder={"window_s": 0.06}), noise(3, 64, 3), [16] * 4


def ctc():
    labels = ("", "a", "b", "c")
    spec = HeadSpec("phones", "ctc", labels, (4,))
    beam = replace(spec, decoder={"method": "beam", "beam": 4})
    tight = replace(spec, decoder={"method": "beam", "beam": 16, "wait_s": 0.2, "least": 0.01})
    arabic = replace(spec, labels=("", "ع", "ق", "🙂"))
    for name, one in (("greedy", spec), ("beam", beam)):
        yield f"{name}: repeats across a border of chunks", one, text("_aa|aa_b".replace("|", ""), labels), [3, 3, 1]
        yield f"{name}: the same label twice, a blank between", one, text("aa_aa", labels), [2, 1, 2]
        yield f"{name}: a blank alone at a border", one, text("aa_aab", labels), [2, 1, 1, 2]
        yield f"{name}: silence only", one, text("_" * 20, labels), [7, 7, 6]
        yield f"{name}: an empty recording", one, text("", labels), [0]
        yield f"{name}: one frame", one, text("c", labels), [1]
        yield f"{name}: a very long label", one, text("_" + "b" * 120 + "_c", labels), [50, 50, 23]
        yield f"{name}: labels of other scripts", replace(arabic, decoder=one.decoder), text("_ab_c", labels), [2, 3]
        yield f"{name}: ties go to the blank", one, [[1, 1, 1, 1]] * 3 + [[0, 2, 2, 0]] + [[4, 0, 0, 0]], [2, 3]
        yield f"{name}: noise", one, noise(4, 60, 4), [16, 16, 16, 12]
        at = replace(one, threshold=0.5)
        yield f"{name}: a threshold", at, text("_aa_", labels) / 8 + text("____", labels) + noise(5, 4, 4), [4]
    half = replace(spec, labels=("", "x", "y"), widths=(3,), threshold=0.5)
    yield "greedy: a score at the threshold is an answer", half, [[-64, 0, 0]] * 2 + [[-64, 1, 2]], [2, 1]
    yield "greedy: a score below it is none", half, [[-64, 0, 0.015625]] * 2 + [[0, 0, 0.015625]], [2, 1]
    yield "beam: two ways to one label are more than the best path", beam, [[2, 1.5, -4, -4]] * 2, [1, 1]
    yield (
        "beam: undecided until it has waited",
        tight,
        [[4, 0, 0, 0]] * 2 + [[0, 3, 2.75, 0]] + [[6, 0, 0, 0]] * 21,
        [4] * 6,
    )
    yield "beam: noise, wide and hasty", tight, noise(6, 80, 4, 1.5), [16] * 5


def units():
    spec = HeadSpec("units", "units", (), (4, 1))
    each = replace(spec, decoder={"dedup": False})
    yield "runs across a border of chunks", spec, _units([1, 1, 1, 2, 2, 1]), [2, 2, 2]
    yield "every frame", each, _units([1, 1, 1, 2, 2, 1]), [2, 2, 2]
    yield "an empty recording", spec, _units([]), [0]
    yield "one frame", spec, _units([3]), [1]
    yield "a very long unit", spec, _units([0] * 200), [64, 64, 64, 8]
    yield "a threshold", replace(spec, threshold=0.5), _units([0, 1, 2, 3, 3]), [5]
    yield "a distance a little below 0", spec, {"distances": [[-0.125, 1, 1, 1]] * 2, "ids": [[0]] * 2}, [1, 1]
    yield "the id of a tie is the program's", spec, {"distances": [[1, 1, 1, 1]] * 2, "ids": [[0]] * 2}, [2]


def _units(ids):
    distances = np.abs(noise(7, len(ids), 4, 1.0)) + 2
    for row, unit in zip(distances, ids, strict=True):
        row[unit] -= 1.5
    return {"distances": distances, "ids": np.array(ids, float).reshape(-1, 1)}


def speaker():
    spec = HeadSpec("who", "speaker", (), (3,), decoder={"every_s": 0.2})
    yield "a vector every 200 ms, and the last one", spec, noise(8, 5, 3), [4, 8, 8, 8, 3]
    yield "chunks longer than that", spec, noise(9, 2, 3), [32, 32]
    yield "only the last one", replace(spec, decoder={"every_s": None}), noise(10, 3, 3), [16, 16, 5]
    yield "an empty recording", spec, noise(11, 1, 3), [0]
    yield "one frame", spec, noise(12, 1, 3), [1]
    yield "as it is", replace(spec, decoder={"normalise": False}), noise(13, 2, 3), [8, 8]
    yield "a vector of zeros", spec, np.zeros((1, 3)), [12]


def _speech(pattern, high=3.0):
    """ "__##__" -> logits of speech; "~" lies between both thresholds."""
    return [[{"#": high, "_": -high, "~": -0.25}[sign]] for sign in pattern]


def vad():
    quick = {"min_speech_s": 0.06, "min_silence_s": 0.08, "hangover_s": 0.04}
    spec = HeadSpec("speech", "vad", ("speech",), (1,), decoder=quick)
    yield "two stretches", spec, _speech("__######________####______"), [5, 5, 5, 5, 6]
    yield "silence only", spec, _speech("_" * 20), [20]
    yield "an empty recording", spec, _speech(""), [0]
    yield "one frame of speech is too short", spec, _speech("#"), [1]
    yield "one frame, when one is enough", replace(spec, decoder={"min_speech_s": 0.0}), _speech("#"), [1]
    yield "too short, and a pause that is too short", spec, _speech("_##____####___####_____"), [8, 8, 7]
    yield "between the thresholds speech goes on, but does not begin", spec, _speech("~~###~~~~##____~~__"), [4, 9, 6]
    yield "a very long stretch", spec, _speech("_" + "#" * 150 + "_" * 5), [50, 50, 50, 6]
    yield "the recording ends in speech", spec, _speech("__#####_"), [8]
    yield "a probability at the threshold is speech", spec, [[0.0]] * 5 + [[-6.0]] * 5, [10]
    softmax = replace(spec, labels=("silence", "speech"), widths=(2,))
    yield "two columns", softmax, logits([0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0], 2), [6, 5]
    yield "defaults", replace(spec, decoder={}), noise(14, 200, 1, 2.0).cumsum(0) / 4, [16] * 12 + [8]


def segment():
    quick = {"min_speech_s": 0.06, "min_silence_s": 0.08, "hangover_s": 0.02, "hysteresis": 0.1}
    spec = HeadSpec("turns", "segment", ("first", "second"), (2,), decoder=quick)
    turns = np.concatenate([_speech("__########______####____"), _speech("______#########_________")], 1)
    yield "two who overlap", spec, turns, [8, 8, 8]
    yield "both begin and end at once", spec, np.repeat(_speech("__####______"), 2, 1), [4, 4, 4]
    yield "silence only", spec, np.repeat(_speech("_" * 12), 2, 1), [12]
    yield "an empty recording", spec, np.zeros((0, 2)), [0]
    yield "one frame", spec, np.full((1, 2), 3.0), [1]
    yield "the recording ends in speech of one", spec, turns[:14], [7, 7]
    yield (
        "names of other scripts, noise",
        replace(spec, labels=("Žofie", "健")),
        noise(15, 150, 2).cumsum(0) / 4,
        [50] * 3,
    )


def words():
    """No word is known to the head itself."""
    spec = HeadSpec("taught", "words", (), (5,))
    yield "vectors bring no events", spec, noise(16, 40, 5), [16, 16, 8]
    yield "an empty recording", spec, np.zeros((0, 5)), [0]
    yield "one frame", spec, noise(17, 1, 5), [1]
    yield "vectors of zeros", spec, np.zeros((6, 5)), [3, 3]
    yield "a long recording", spec, noise(18, 100, 5), [50, 50]


KINDS = (classify, ctc, units, speaker, vad, segment, words)


def cases(kind):
    for name, spec, given, chunks in kind():
        found = given if isinstance(given, dict) else {next(iter(spec.outputs)): given}
        outputs = {
            output: (np.round(np.reshape(x, (-1, width)) * STEPS) / STEPS).tolist()
            for (output, x), width in zip(found.items(), spec.widths, strict=True)
        }
        rows = len(next(iter(outputs.values())))
        assert rows == (len(chunks) if kind is speaker else sum(chunks)), (name, rows, chunks)
        shaped = {
            output: np.reshape(x, (-1, width)) for (output, x), width in zip(outputs.items(), spec.widths, strict=True)
        }
        events, _ = played(spec, shaped, chunks)
        told = [[event.to_dict() for event in step] for step in events]
        yield {"name": name, "spec": spec.to_dict(), "outputs": outputs, "chunks": chunks, "events": told}


def document(kind):
    """One file, a case's rows and events a line each."""
    lines = [json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases(kind)]
    return f'{{"kind": "{kind.__name__}", "cases": [\n' + ",\n".join(lines) + "\n]}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        (FOLDER / f"{kind.__name__}.json").write_text(document(kind), encoding="utf-8")
    sys.stdout.write(f"{FOLDER}\n")
