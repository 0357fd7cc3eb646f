"""How much faster is the student? HuBERT-base against DistilHuBERT, full size, random weights, batch 1.

    python benchmarks/speedup.py

Both run in one process, turn by turn, with one and with two threads, on utterances of 5, 10 and 15 s; the teacher once
as `transformers` runs it and once as our encoder does. The paper (arXiv:2110.01900) reports 73 % faster.
"""

import torch
from common import alternate, write
from transformers import HubertConfig, HubertModel

from speechpress.compressor.distill.resolve import student_config
from speechpress.compressor.models.config import SAMPLE_RATE, EncoderConfig
from speechpress.compressor.models.costs import macs_per_s, parameters
from speechpress.compressor.models.encoder import Encoder
from speechpress.compressor.recipe.files import load_recipe

ROUNDS = 5


def main() -> None:
    base = EncoderConfig()
    small, _ = student_config(load_recipe("distilhubert"), base, base.width)
    transformers_teacher = HubertModel(HubertConfig(**base.to_hubert())).eval()
    teacher, student = Encoder(base).eval(), Encoder(small).eval()
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for seconds in (5, 10, 15):
            waves = torch.randn(1, seconds * SAMPLE_RATE)
            sides = {
                "teacher_transformers": lambda waves=waves: transformers_teacher(waves),
                "teacher": lambda waves=waves: teacher(waves),
                "student": lambda waves=waves: student(waves),
            }
            with torch.inference_mode():
                times = alternate(sides, ROUNDS)
            ratio = times["teacher_transformers"]["median_ms"] / times["student"]["median_ms"]
            rows.append({"threads": threads, "seconds": seconds, "speedup": ratio, **times})
            print(
                f"{threads} threads, {seconds:2d} s: teacher {times['teacher_transformers']['median_ms']:7.1f} ms "
                f"(ours {times['teacher']['median_ms']:7.1f}), student {times['student']['median_ms']:7.1f} ms, "
                f"{ratio:.2f}x; others used {times['others_cpu_share']:.2f} cores",
                flush=True,
            )
    costs = {
        name: {"parameters": parameters(config), "macs_per_s": macs_per_s(config)}
        for name, config in (("teacher", base), ("student", small))
    }
    print(costs)
    write("speedup", {"rows": rows, "costs": costs})


if __name__ == "__main__":
    main()
