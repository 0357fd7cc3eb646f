"""ssh and scp as they are, against a real sshd on loopback with keys of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from profiled import first_on_path, program

from speechpress.devices.device import DeviceError
from speechpress.devices.open import open_device
from speechpress.devices.process import Done
from speechpress.devices.profile import ProfileOptions, profile
from speechpress.runtime.bundle import read_bundle

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
if not Path(SSHD).exists() or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
    pytest.skip("needs openssh-server and openssh-client", allow_module_level=True)

REAL = {name: shutil.which(name) for name in ("ssh", "scp")}  # ours stand before them on PATH later
USER = os.environ.get("USER") or os.environ.get("LOGNAME") or "root"
SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
Subsystem sftp internal-sftp
SetEnv TMPDIR={folder}/remote
"""
CLIENT = """
Host board other-key unknown changed
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentitiesOnly yes
  IdentityFile {folder}/user_key
  UserKnownHostsFile {folder}/known_hosts
  HostKeyAlias board
Host other-key
  IdentitiesOnly yes
Host 127.0.0.1
  IdentitiesOnly yes
  IdentityFile {folder}/user_key
  UserKnownHostsFile {folder}/known_hosts
  HostKeyAlias board
"""


class Server:
    """A real sshd; `start` and `stop` it, `cut` its connections."""

    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        for name in ("host_key", "user_key", "other_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        self.trust("host_key")
        (folder / "remote").mkdir()
        (folder / "sshd_config").write_text(SERVER.format(port=self.port, folder=folder))
        self.configure(CLIENT.format(port=self.port, folder=folder, user=USER))
        self.process = None

    def trust(self, key):
        kind, value = (self.folder / f"{key}.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"board {kind} {value}\n")

    def configure(self, text):
        """What would stand in the user's ~/.ssh/config; ssh finds that by the account, not by $HOME."""
        (self.folder / "config").write_text(text)
        (self.folder / "bin").mkdir(exist_ok=True)
        for name in ("ssh", "scp"):
            program(self.folder / "bin", name, f'exec {REAL[name]} -F {self.folder}/config "$@"')

    def start(self):
        Path("/run/sshd").mkdir(parents=True, exist_ok=True) if os.geteuid() == 0 else None
        command = [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("sshd did not start")

    def cut(self):
        """Break every connection, as a pulled cable does."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        for pid in listed.stdout.split():
            os.kill(int(pid), signal.SIGKILL)

    def stop(self):
        self.cut()
        self.process.terminate()
        self.process.wait()

    @property
    def left(self):
        return list((self.folder / "remote").iterdir())


def free_port():
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return tried.getsockname()[1]


@pytest.fixture(scope="module")
def whole_server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(whole_server, monkeypatch):
    first_on_path(monkeypatch, whole_server.folder / "bin")
    for variable in ("SSH_AUTH_SOCK", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)
    yield whole_server
    whole_server.trust("host_key")
    whole_server.configure(CLIENT.format(port=whole_server.port, folder=whole_server.folder, user=USER))


def board(address="ssh:board"):
    return open_device(address, sys.executable)


def test_a_bundle_is_measured_over_ssh(server, small_bundle):
    heard = []
    record = profile(read_bundle(small_bundle), board(), ProfileOptions(chunks=3, per_op=True), heard.append)
    assert record["finished"] and record["stopped"] is None, record["stopped"]
    assert record["golden"]["ok"] and record["device"]["address"] == "ssh:board"
    assert {name: len(pace["ms"]) for name, pace in record["paces"].items()} == {"real": 3, "flat": 3}
    assert record["operators"]["known_share"] > 0.5 and record["result"]["peak_rss_bytes"] > 0
    assert not server.left


def test_user_and_port_are_in_the_address(server):
    device = board(f"ssh:{USER}@127.0.0.1:{server.port}")
    assert device.shell("echo there; exit 4") == Done(4, "there\n", "")


def test_files_with_odd_names_arrive(server, tmp_path):
    odd = tmp_path / "a b'c$d.txt"
    odd.write_text("as it was")
    board().push([odd], str(server.folder / "remote"))
    board().pull(f"{server.folder}/remote/{odd.name}", tmp_path / "back.txt")
    assert (tmp_path / "back.txt").read_text() == "as it was"
    (server.folder / "remote" / odd.name).unlink()


def test_a_wrong_key(server):
    text = (server.folder / "config").read_text().replace("user_key", "other_key")
    server.configure(text)
    with pytest.raises(DeviceError, match=r"none of your keys is accepted there.*ssh-copy-id"):
        board().shell("true")


def test_a_host_key_that_is_not_known(server):
    (server.folder / "known_hosts").write_text("")
    with pytest.raises(DeviceError, match=r"host key is not known.*Run `ssh board` once"):
        board().shell("true")


def test_a_host_key_that_changed(server):
    server.trust("other_key")
    with pytest.raises(DeviceError, match=r"host key has changed.*ssh-keygen -R"):
        board().shell("true")


def test_nobody_answers(server):
    with pytest.raises(DeviceError, match="is sshd running, and the port right"):
        board(f"ssh:{USER}@127.0.0.1:{free_port()}").shell("true")
    with pytest.raises(DeviceError, match="no machine of this name"):
        board("ssh:no-such-machine.invalid").shell("true")


def test_no_space_while_copying(server, tmp_path, small_bundle):
    said = "echo 'scp: write remote \"encoder.pte\": No space left on device' >&2; exit 1"
    program(server.folder / "bin", "scp", said)
    with pytest.raises(DeviceError, match=r"no space is left on the device.*TMPDIR"):
        profile(read_bundle(small_bundle), board(), ProfileOptions(), lambda event: None)
    assert not server.left


def test_a_python_without_executorch(server, small_bundle):
    with pytest.raises(Exception, match=r"no-python does not run there.*--python"):
        profile(read_bundle(small_bundle), open_device("ssh:board", "no-python"), ProfileOptions(), lambda event: None)


def test_a_connection_that_breaks_keeps_what_there_is(server, small_bundle):
    """The cable is pulled in mid-run: the partial record is kept, and nothing stays on the device."""

    def listen(event):
        if event["event"] == "chunks":
            server.cut()

    options = ProfileOptions(duration_s=60.0, paces=("flat",))
    record = profile(read_bundle(small_bundle), board(), options, listen)
    assert not record["finished"] and record["stopped"]["exit_code"] == 1
    assert "ssh:board: " in record["stopped"]["message"] and "connection" in record["stopped"]["message"]
    assert record["paces"]["flat"]["ms"] and record["result"]["p50_ms"] > 0
    assert not server.left
