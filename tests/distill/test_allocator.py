import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from speechpress.compressor.distill.process import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
def step():
    x = torch.ones(16_000_000)  # 64 MB: glibc never keeps blocks of more than 32 MB by itself
    del x
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_repeated_steps_no_longer_fault_their_memory_in():
    def faults(word):
        done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
        kept, count = done.stdout.split()
        return kept, int(count)

    assert faults("keep")[0] == "True"
    assert faults("keep")[1] < faults("plain")[1] / 10
