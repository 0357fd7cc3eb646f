from dataclasses import replace

import numpy as np
import pytest
import torch
from bundled import SMALL, make, speech_like
from carried import KIND_OF, kept_heads

from speechpress.compressor.models.answering import hear, with_heads
from speechpress.compressor.models.streaming import StreamingEncoder, TorchEngine
from speechpress.runtime.errors import SpeechpressError
from speechpress.runtime.spec import NO_END

CONFIGS = {
    "post norm": SMALL,
    "pre norm, two layers": replace(SMALL, pre_norm=True, num_heads=(2, 2), ffn_widths=(64, 64)),
    "time reduction": replace(SMALL, time_reduction=2),
}


def streamed(engine, wave):
    """Frames, and answers by head and output, of a whole recording that comes in chunks."""
    spec, state = engine.spec, engine.initial_state()
    end = spec.frames(len(wave))
    chunks = -(-(end - spec.first_frame) // spec.chunk_frames)
    audio = np.zeros(chunks * spec.chunk_samples, np.float32)
    heard = wave[: len(audio) - spec.silence_samples]
    audio[spec.silence_samples : spec.silence_samples + len(heard)] = heard
    steps = []
    for number, chunk in enumerate(audio.reshape(chunks, 1, -1)):
        if number == chunks - 1:
            state = {**state, "end": np.array([end])}
        step = engine.step(chunk, state)
        state = step.state
        steps.append(step)
    rows = slice(-spec.first_frame, -spec.first_frame + end)
    frames = np.concatenate([step.frames[0] for step in steps])[rows]
    answers = {}
    for name, outputs in steps[0].answers.items():
        for output, first in outputs.items():
            every = [step.answers[name][output][0] for step in steps]
            answers[name, output] = every[-1] if first.shape[1] == 1 else np.concatenate(every)[rows]
    return frames, answers


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stream_answers_as_the_whole_recording_does(name):
    encoder = make(CONFIGS[name])
    wave = speech_like(9_000)
    frames, answers = streamed(TorchEngine(encoder, 4, heads=kept_heads(encoder.config)), wave)
    carrying = with_heads(encoder, kept_heads(encoder.config))
    with torch.inference_mode():
        wanted, said = hear(carrying, torch.from_numpy(wave)[None], chunk_frames=4)
    assert np.abs(frames - wanted[0].numpy()).max() < 1e-4
    assert {head for head, _ in answers} == set(KIND_OF)
    for (head, output), found in answers.items():
        assert np.abs(found - said[head][output][0].numpy()).max() < 1e-4, (head, output)


def test_garbage_before_the_audio_and_after_its_end_reaches_no_state_of_a_head():
    encoder = make(SMALL)
    step = StreamingEncoder(with_heads(encoder, kept_heads(encoder.config)), 4)
    loud = torch.randn(1, step.spec.chunk_samples)
    state = step.initial_state()
    names = [name for name in state if name.startswith("voice/")]
    before = {**state, "count": torch.tensor([-100])}  # all its frames lie before the audio
    after = {**state, "count": torch.tensor([100]), "end": torch.tensor([50])}
    inside = {**state, "count": torch.tensor([100]), "end": torch.tensor([NO_END])}
    for where in (before, after):
        _, _, new = step.hear(loud, where)
        assert all(torch.equal(new[name], state[name]) for name in names)
    assert step.hear(loud, inside)[2]["voice/frames"].item() == 4


def test_an_encoder_without_heads_answers_nothing_and_has_its_own_state():
    encoder = make(SMALL)
    plain, carrying = StreamingEncoder(encoder, 4), StreamingEncoder(with_heads(encoder, kept_heads(SMALL)), 4)
    own = plain.state_names
    assert carrying.state_names[: len(own)] == own
    assert carrying.state_names[len(own) :] == (
        *("phones/past", "vad/past", "voice/sums", "voice/squares", "voice/frames"),
        *(f"turns/past_{index}" for index in range(3)),
    )
    assert (
        not hasattr(encoder, "heads")
        and not TorchEngine(encoder, 4)
        .step(np.zeros((1, plain.spec.chunk_samples), np.float32), TorchEngine(encoder, 4).initial_state())
        .answers
    )


def test_a_head_of_another_student_is_refused():
    heads = kept_heads(replace(SMALL, width=16))
    with pytest.raises(
        SpeechpressError, match=r"'phones' hears 2 layers of width 16, but this encoder has 2 of width 32"
    ):
        with_heads(make(SMALL), heads)


def test_a_name_that_pytorch_uses_itself_is_refused():
    with pytest.raises(SpeechpressError, match="cannot be called 'type'"):
        with_heads(make(SMALL), {"type": kept_heads(SMALL)["vad"]})
