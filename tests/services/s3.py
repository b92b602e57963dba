"""Ceph's S3 gateway on the loopback interface, with an object store in memory."""

import os
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

from tests.services.debian import await_port, await_true, free_port, unpacked

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd")
CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = {folder}
admin socket =
pid file =
keyring = {folder}/keyring
crash dir = {folder}/crash
log file = {folder}/$name.log
err to stderr = false
plugin dir = {libraries}/ceph
erasure code dir = {libraries}/ceph/erasure-code
osd class dir = {libraries}/rados-classes
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
paxos propose interval = 0.05
paxos min wait = 0.01
[mon]
mon data = {folder}/mon
mon data avail warn = 2
mon data avail crit = 1
mon cluster log file = {folder}/cluster.log
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
[client]
rgw data = {folder}/gateway
# a gateway that was killed watches the others' caches for 30 s more: making a bucket would wait for its answer
rgw cache enabled = false
rgw frontends = beast endpoint=127.0.0.1:{port}
"""


class S3Server:
    """A monitor, an object store and a gateway; they end with this process, and so does their data."""

    key, secret = "dreamtrace", "only-for-tests"

    def __init__(self) -> None:
        self.programs = unpacked("ceph", PACKAGES)
        self.folder = Path(tempfile.mkdtemp(prefix="s3-"))
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        libraries = next((self.programs / "usr/lib").glob("*-linux-gnu"))
        paths = (libraries, libraries / "ceph", self.programs / "lib" / libraries.name)
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, paths)), "TMPDIR": str(self.folder)}
        self.port, monitor, self.fsid = free_port(), free_port(), str(uuid.uuid4())
        self.url = f"http://127.0.0.1:{self.port}"
        self.configuration = self.folder / "ceph.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                fsid=self.fsid, monitor=monitor, folder=self.folder, libraries=libraries, port=self.port
            )
        )
        try:
            self._start(monitor)
        except BaseException:
            self.stop()
            raise

    def start_gateway(self) -> None:
        """Answer at the port, as before if it was killed."""
        self._spawn("gateway", "radosgw", "-n", "client.rgw", "-f")
        await_port(self.port, self.running["gateway"])

    def kill_gateway(self) -> None:
        """SIGKILL: whatever is under way is cut off; the data stays."""
        self.running["gateway"].kill()
        self.running.pop("gateway").wait()

    def stop(self) -> None:
        """End everything and remove the data."""
        for name in ("gateway", "osd", "mon"):
            if process := self.running.pop(name, None):
                process.kill()
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, monitor: int) -> None:
        folder = self.folder
        (folder / "keyring").touch()
        for name in ("mon", "osd", "gateway"):
            (folder / name).mkdir()
        addresses = ("--addv", "a", f"[v2:127.0.0.1:{monitor}/0]")
        self._call("monmaptool", "--create", "--fsid", self.fsid, *addresses, f"{folder}/monmap", configured=False)
        self._call("osdmaptool", "--createsimple", "1", f"{folder}/osdmap", configured=False)
        maps = ("--monmap", f"{folder}/monmap", "--osdmap", f"{folder}/osdmap")
        self._call("ceph-mon", "-i", "a", "--mkfs", *maps)
        self._spawn("mon", "ceph-mon", "-i", "a", "-f")
        self._call("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", str(uuid.uuid4()))
        self._spawn("osd", "ceph-osd", "-i", "0", "-f")
        log = folder / "osd.0.log"  # a gateway that comes before the store waits for five seconds
        await_true(lambda: "booting -> active" in log.read_text(errors="replace"), self.running["osd"])
        keys = (f"--access-key={self.key}", f"--secret-key={self.secret}")
        self._call("radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests", *keys)
        self.start_gateway()

    def _call(self, program: str, *arguments: str, configured: bool = True) -> None:
        command = [str(self.programs / "usr/bin" / program), *(("-c", str(self.configuration)) * configured)]
        subprocess.run(
            [*command, *arguments], env=self.environment, cwd=self.folder, check=True, timeout=90, capture_output=True
        )

    def _spawn(self, name: str, program: str, *arguments: str) -> None:
        command = [str(self.programs / "usr/bin" / program), "-c", str(self.configuration), *arguments]
        with (self.folder / f"{name}.err").open("ab") as errors:
            self.running[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
