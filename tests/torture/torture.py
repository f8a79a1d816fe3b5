#!/usr/bin/env python3
"""The torture chamber: see README."""

import argparse
import collections
import json
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

import checker
import hosts
import nemesis
import picture
import resp
import topology

HERE = os.path.dirname(os.path.abspath(__file__))
SORTS = ("shared", "slots", "cooldown", "attach", "two")
COOLDOWN_MS = 700
# Named so by the kernel: what runs the lock, and what ends when it is killed.
LOCKER_COMM = {"cflock": "cflock", "setnx": "bash", "redispy": "python3",
               "etcd": "etcdctl"}
PROMISED = ("process", "server", "net", "clock", "load")
UNPROMISED = ("beyond", "replica")
END_LIMIT_S = 40

# Leases end before; but the place in the line of one that was killed, or cut off as it
# gave up, is forgotten only after LEFTOVER_MS of common.lua, where nobody comes after it.
LEFTOVER_S = 65
PULSE_S = 0.01

Process = collections.namedtuple("Process", "pid parent name run")


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def build(folder, compiler):
    """The C programs of the chamber, in a folder of their own."""
    flags = ["-O2", "-D_GNU_SOURCE"]
    for name in ("work", "wire"):
        subprocess.run([compiler, *flags, "-o", os.path.join(folder, name),
                        os.path.join(HERE, name + ".c")], check=True)
    subprocess.run([compiler, *flags, "-shared", "-fPIC", "-o",
                    os.path.join(folder, "wallclock.so"),
                    os.path.join(HERE, "wallclock.c")], check=True)


class Chamber:
    """Hosts, lock service and contenders, and what is done to them."""

    def __init__(self, options, folder):
        self.options = options
        self.folder = folder
        self.seed = options.seed
        self.ttl_s = options.ttl_ms / 1000
        self.clients = [f"h{i + 1}" for i in range(options.hosts)]
        self.touched = set()
        self.ending = threading.Event()
        self.runners = {}
        self._clocks = {}
        self._rules = {}
        self._lock = threading.Lock()
        self._events = os.open(os.path.join(folder, "events"),
                               os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        build(folder, options.cc)
        kind = topology.TOPOLOGIES[options.topology]
        names = [*self.clients, *kind.hosts]
        for name in names:
            with open(os.path.join(folder, f"clock-{name}"), "w+b") as file:
                file.write(bytes(8))
                file.flush()
                self._clocks[name] = mmap.mmap(file.fileno(), 8)
        self.net = hosts.Net(folder, os.path.join(folder, "wire"), names)
        self.topology = kind(self)

    def tell(self, event, **more):
        line = {"t": time.monotonic_ns(), "e": event, **more}
        os.write(self._events, json.dumps(line).encode() + b"\n")

    # --- what the nemeses use

    def clock_env(self, host, base=None):
        return dict(os.environ if base is None else base,
                    LD_PRELOAD=os.path.join(self.folder, "wallclock.so"),
                    WALLCLOCK=os.path.join(self.folder, f"clock-{host}"))

    def clock(self, host):
        """How far its wall clock is ahead, in seconds."""
        return struct.unpack("q", self._clocks[host][:])[0] / 1e9

    def set_clock(self, host, ahead_s):
        self._clocks[host][:] = struct.pack("q", int(ahead_s * 1e9))

    def set_links(self, links, **rule):
        """Adds a rule to those of these links; returns what takes it away."""
        def apply():
            for link in links:
                rules = self._rules.get(link, [])
                self.net.rule(
                    *link, max([r.get("loss_permille", 0) for r in rules], default=0),
                    sum(r.get("delay_ms", 0) for r in rules),
                    sum(r.get("jitter_ms", 0) for r in rules))

        def undo():
            with self._lock:
                for link in links:
                    self._rules[link].remove(rule)
                apply()

        with self._lock:
            for link in links:
                self._rules.setdefault(link, []).append(rule)
            apply()
        return undo

    def processes_of(self, host):
        """All below the contenders of that host, with the run that they belong to."""
        found = []
        parents = [self.runners[host].pid]
        while parents:
            parent = parents.pop()
            try:
                tasks = os.listdir(f"/proc/{parent}/task")
            except OSError:
                continue
            for task in tasks:
                try:
                    children = read_file(f"/proc/{parent}/task/{task}/children")
                except OSError:
                    continue
                for pid in map(int, children.split()):
                    parents.append(pid)
                    try:
                        name = read_file(f"/proc/{pid}/comm").decode().strip()
                        environ = read_file(f"/proc/{pid}/environ").decode(
                            errors="replace")
                    except OSError:
                        continue
                    run = next((word[12:] for word in environ.split("\0")
                                if word.startswith("TORTURE_RUN=")), None)
                    if name == LOCKER_COMM[self.options.locker]:
                        name = "locker"
                    found.append(Process(pid, parent, name, run))
        return found

    # --- the run

    def _start_contenders(self):
        options = self.options
        sorts = [s for s in SORTS if s in options.sorts]
        if not self.topology.has_slots:
            sorts = [s for s in sorts if s != "slots"]
        if options.locker != "cflock":
            sorts = ["two"]
        config = {
            "folder": self.folder, "seed": self.seed, "locker": options.locker,
            "urls": self.topology.urls, "ttl_ms": options.ttl_ms, "sorts": sorts,
            "cflock": options.cflock, "work": os.path.join(self.folder, "work"),
            "lockers": os.path.join(HERE, "lockers"), "redispy": options.python,
            "options": options.option, "cooldown_ms": COOLDOWN_MS,
            "hosts": self.clients, "contenders": options.contenders,
            "began": time.monotonic(), "long": options.long,
            "env": {host: self.clock_env(host, {}) for host in self.clients}}
        path = os.path.join(self.folder, "config.json")
        with open(path, "w", encoding="ascii") as file:
            json.dump(config, file)
        for host in self.clients:
            self.runners[host] = subprocess.Popen(
                self.net.command(host, [
                    sys.executable, os.path.join(HERE, "contenders.py"), path, host]),
                stdin=subprocess.DEVNULL, start_new_session=True)

    def _pulse(self):
        """Tells when nothing runs here in time: no lock could stand that."""
        last = time.monotonic_ns()
        while not self.ending.wait(PULSE_S):
            now = time.monotonic_ns()
            if now - last > 60e6:
                self.tell("starved", since=last, ms=(now - last) // 1000000)
            last = now

    def _sample_memory(self):
        """What cflock's keys take, and its scripts: what else Redis has is its own."""
        for server in self.topology.stores():
            try:
                keys = server.ask("keys", "*cflock*")
                size = sum(server.ask("memory", "usage", key, "samples", "0") or 0
                           for key in keys)
                scripts = int(resp.info(server.socket, "memory").get(
                    "number_of_cached_scripts", 0))
            except (OSError, resp.RedisError):
                continue
            self.tell("memory", server=server.name, pid=server.process.pid,
                      bytes=size, keys=len(keys), scripts=scripts)

    def run(self):
        options = self.options
        table = nemesis.choose(options.topology, options.groups, options.nemesis)
        entries, calms = nemesis.schedule(self.seed, options.seconds, self.ttl_s,
                                          table, options.topology, options.storm)
        if options.topology in nemesis.QUORUM:
            rng = random.Random(f"{self.seed}/clocks")
            for host in self.topology.hosts:
                self.set_clock(host, rng.uniform(-3600, 3600))
        self.topology.start()
        # A server that was just started gives no lease for a ttl.
        time.sleep(self.ttl_s + 1)

        threading.Thread(target=self._pulse, daemon=True).start()
        self.tell("begin", ttl_ms=options.ttl_ms, seed=self.seed,
                  topology=options.topology, locker=options.locker,
                  beyond=[g for g in UNPROMISED if g != "replica" or not any(
                      "--min-replicas" in o for o in options.option)],
                  cooldown_ms=COOLDOWN_MS)
        began = time.monotonic()
        self._start_contenders()
        due = sorted([(entry["at"], 1, entry) for entry in entries]
                     + [(calm[0], 0, calm) for calm in calms], key=lambda e: e[:2])
        threads = []
        for at, is_nemesis, what in due:
            time.sleep(max(0, began + at - time.monotonic()))
            if is_nemesis:
                threads.append(threading.Thread(target=nemesis.hit, args=(self, what)))
                threads[-1].start()
                continue
            for thread in threads:  # late, when a server takes long to start
                thread.join()
            threads = []
            self.topology.heal()
            self._sample_memory()
            left = what[1] - what[0]
            self.tell("calm", until=time.monotonic_ns() + int(left * 1e9))
            began = max(began, time.monotonic() - at)
        time.sleep(max(0, began + options.seconds - time.monotonic()))
        self._finish(threads)

    def _finish(self, threads):
        for thread in threads:
            thread.join()
        self.net.heal()
        self.topology.heal()
        self.tell("stop")
        with open(os.path.join(self.folder, "stop"), "w", encoding="ascii"):
            pass
        end = time.monotonic() + END_LIMIT_S
        while any(r.poll() is None for r in self.runners.values()):
            if time.monotonic() > end:
                break
            time.sleep(0.1)
        self.tell("unfinished", hosts=[h for h, r in self.runners.items()
                                       if r.poll() is None])
        servers = {s.process.pid for s in self.topology.servers if s.process}

        def strangers():
            return [f"{comm} ({pid}) on {host}" for pid, host, comm
                    in self.net.processes() if pid not in servers]
        try:
            hosts.wait_until(lambda: not strangers(), "orphans", 3 * self.ttl_s + 3)
        except TimeoutError:
            pass
        self.tell("orphans", processes=strangers())
        try:
            hosts.wait_until(lambda: not self._left_keys(), "keys", LEFTOVER_S)
        except TimeoutError:
            pass
        self.tell("keys", keys=self._left_keys())
        self._sample_memory()
        self.ending.set()

    def _left_keys(self):
        found = []
        for server in self.topology.masters():
            for key in server.ask("keys", "cflock:*"):
                if not key.endswith((":token", ":epoch")) and key != "cflock:epoch":
                    found.append(f"{server.name}: {key}")
        return found

    def down(self):
        self.ending.set()
        self.net.down()
        for server in self.topology.servers:
            server.kill()


def parse():
    parser = argparse.ArgumentParser(
        description="Contenders for cluster locks, and what can go wrong, on hosts "
        "in network namespaces.")
    add = parser.add_argument
    add("--topology", default="single", choices=list(topology.TOPOLOGIES))
    add("--seconds", type=float, default=60)
    add("--seed", type=int, help="the same seed is the same run, as far as the "
        "machine lets it")
    add("--locker", default="cflock", choices=list(LOCKER_COMM))
    add("--cflock", default=os.environ.get("CFLOCK", "./cflock"))
    add("--option", action="append", default=[], help="of cflock, for all contenders")
    add("--ttl-ms", type=int, default=2000)
    add("--hosts", type=int, default=4)
    add("--contenders", type=int, default=2, help="on each host")
    add("--long", type=int, default=10, metavar="PERCENT", help="of the commands "
        "last half a ttl or longer")
    add("--storm", type=float, default=15, metavar="SECONDS",
        help="between two calms")
    add("--sorts", default=",".join(SORTS), help="what the second contenders want")
    add("--groups", default=",".join(PROMISED), help="of nemeses; beyond and replica: "
        "what is not promised; empty: none")
    add("--nemesis", action="append", default=[], help="only this one, and other "
        "such; \"list\" shows all")
    add("--keep", metavar="FOLDER", help="where log and pictures stay; else only "
        "those of a violation do")
    add("--cc", default=os.environ.get("CC", "cc"))
    add("--python", default="/usr/bin/python3", help="that has redis-py")
    options = parser.parse_args()
    options.groups = [g for g in options.groups.split(",") if g]
    options.sorts = options.sorts.split(",")
    options.cflock = os.path.abspath(options.cflock)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1000000)
    if options.nemesis == ["list"]:
        for chosen in nemesis.TABLE.values():
            print(f"{chosen.name:24}{chosen.group:10}{' '.join(chosen.where)}")
        sys.exit(0)
    if options.locker == "etcd":
        options.topology = "etcd"
    return options


def main():
    options = parse()
    folder = tempfile.mkdtemp(prefix="cflock-torture.")
    print(f"seed {options.seed}, {options.topology}, {options.locker}, ttl "
          f"{options.ttl_ms} ms, {options.seconds:.0f} s", flush=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    chamber = None
    try:
        chamber = Chamber(options, folder)
        chamber.run()
    finally:
        if chamber:
            chamber.down()
    log = checker.read(folder)
    verdicts = checker.check(log)
    print(checker.table(log, verdicts))
    is_good = all(v.is_good for v in verdicts)
    if options.keep or not is_good:
        kept = options.keep or folder
        os.makedirs(kept, exist_ok=True)
        for name in picture.draw(log, verdicts, kept):
            print(os.path.join(kept, name))
        if options.keep:
            for name in os.listdir(folder):
                if name == "events" or name.endswith((".count", ".fence", ".log")) or (
                        name.startswith(("stderr-", "beats", "config"))):
                    shutil.copy(os.path.join(folder, name), kept)
    if is_good or options.keep:
        shutil.rmtree(folder)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
