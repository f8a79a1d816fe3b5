"""Hosts: each a network namespace with a name, on one switch, which is wire.c.

Files, Unix sockets that are files, process numbers and CLOCK_MONOTONIC are shared
by all, so that a server can be looked at by its socket, whatever is cut.
"""

import mmap
import os
import signal
import struct
import subprocess
import time

RULE = struct.Struct("IIII")  # struct rule of wire.c
CUT = (1000, 0, 0)


def wait_until(condition, what, limit_s=30):
    """Polls until condition() is true, which it returns."""
    end = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise TimeoutError(f"waited {limit_s} s for: {what}")
        time.sleep(0.02)


def network_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


class Net:
    """The hosts by their names, in the order of their addresses."""

    def __init__(self, folder, wire, names):
        self.folder = folder
        self.names = list(names)
        self.pids = {}
        self.networks = {}
        self.user = [] if os.geteuid() == 0 else ["-U", "--preserve-credentials"]
        self._sleepers = []
        self._wire = None
        self._rules = None
        try:
            self._start(wire)
        except BaseException:
            self.down()
            raise

    def address(self, name):
        return f"10.77.0.{self.names.index(name) + 1}"

    def _new(self, name, prefix):
        path = os.path.join(self.folder, f"host-{name}")
        script = (f"hostname {name}; ip link set lo up || exit; "
                  f"echo $$ >{path}.new; mv {path}.new {path}; exec sleep infinity")
        self._sleepers.append(subprocess.Popen(
            prefix + ["bash", "-c", script], stdin=subprocess.DEVNULL,
            start_new_session=True))
        wait_until(lambda: os.path.exists(path), f"the host {name}")
        with open(path, encoding="ascii") as file:
            self.pids[name] = int(file.read())
        self.networks[name] = network_of(self.pids[name])

    def _start(self, wire):
        outer = []
        if self.user:  # one user namespace for all, or the wire could not enter
            self._new("wire", ["unshare", "-r", "-n", "-u"])
            outer = self.inside(self.pids.pop("wire"), [])
        for name in self.names:
            self._new(name, outer + ["unshare", "-n", "-u"])

        count = len(self.names)
        path = os.path.join(self.folder, "rules")
        with open(path, "w+b") as file:
            file.truncate(RULE.size * count * count)
            self._rules = mmap.mmap(file.fileno(), 0)
        # Before all others: without it, nobody is in time.
        nice = ["nice", "-n", "-10"] if os.geteuid() == 0 else []
        self._wire = subprocess.Popen(
            nice + outer + [wire, path] + [str(self.pids[n]) for n in self.names],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        if self._wire.stdout.readline() != b"ready\n":
            raise RuntimeError("the wire does not start; is there a /dev/net/tun?")
        for i, name in enumerate(self.names):
            script = (f"ip link set eth0 address 02:00:00:00:00:{i + 1:02x}; "
                      f"ip address add {self.address(name)}/24 dev eth0; "
                      "ip link set eth0 up")
            subprocess.run(self.command(name, ["sh", "-ec", script]), check=True)

    def inside(self, pid, argv):
        return ["nsenter", "-t", str(pid), *self.user, "-n", "-u", "--", *argv]

    def command(self, name, argv):
        """What runs argv on that host."""
        return self.inside(self.pids[name], argv)

    def rule(self, source, target, loss_permille=0, delay_ms=0, jitter_ms=0):
        """What becomes of what `source` sends to `target`, from now on."""
        at = self.names.index(source) * len(self.names) + self.names.index(target)
        RULE.pack_into(self._rules, at * RULE.size, loss_permille,
                       int(delay_ms * 1000), int(jitter_ms * 1000), 0)

    def heal(self):
        for source in self.names:
            for target in self.names:
                self.rule(source, target)

    def processes(self):
        """(pid, host, comm) of all that runs on the hosts, but for what keeps them."""
        hosts = {network: name for name, network in self.networks.items()}
        own = set(self.pids.values())
        if self._wire:
            own.add(self._wire.pid)
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) in own:
                continue
            host = hosts.get(network_of(entry))
            if host is None:
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8",
                          errors="replace") as file:
                    comm, rest = file.read().rsplit(")", 1)
            except OSError:
                continue
            if rest.split()[0] != "Z":
                found.append((int(entry), host, comm.split("(", 1)[1]))
        return found

    def down(self):
        """Ends all that runs on the hosts, and the hosts."""
        for _ in range(3):
            for pid, _, _ in self.processes():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for process in self._sleepers + ([self._wire] if self._wire else []):
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.pids = {}
        self.networks = {}
