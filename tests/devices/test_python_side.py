import os
import subprocess
import sys

from speechpress.devices.python_side import pack

IMPORT_ALL = """
import importlib, sys, zipfile
for name in zipfile.ZipFile(sys.argv[1]).namelist():
    module = importlib.import_module(name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."))
    assert module.__file__.startswith(sys.argv[1]), module.__file__
"""


def test_every_module_that_is_sent_to_a_device_finds_what_it_imports(tmp_path):
    """Nothing else of this package is there."""
    path = pack(tmp_path)
    words = [sys.executable, "-P", "-c", IMPORT_ALL, str(path)]
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
