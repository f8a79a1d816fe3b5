#!/usr/bin/env python3
"""contenders.py CONFIG HOST: on a host of the chamber, asks for locks again and again.

Started by torture.py in the network of that host.  Each contender is a thread that
runs one locker at a time, with work.c under it, until the file `stop` is there.
What it does comes from the seed, its host and its number.
"""

import ctypes
import json
import os
import random
import subprocess
import sys
import threading
import time

PR_SET_CHILD_SUBREAPER = 36
RUNS_EACH = 200000
SHARE_S = 4  # so long, all of the second contenders want the same lock


def cflock(config, options, name, command):
    """What cflock is to be run with, for a command as a list."""
    servers = [word for url in config["urls"] for word in ("-S", url)]
    return [config["cflock"], *servers, "-t", f"{config['ttl_ms']}ms",
            *config["options"], *options, name, *command]


def setnx(config, _options, name, command):
    host, port = config["urls"][0].split("//")[1].split(":")
    return ["bash", os.path.join(config["lockers"], "setnx.sh"), host, port,
            str(config["ttl_ms"]), name, *command]


def redispy(config, _options, name, command):
    host, port = config["urls"][0].split("//")[1].split(":")
    return [config["redispy"], os.path.join(config["lockers"], "redispy.py"), host,
            port, str(config["ttl_ms"]), name, *command]


def etcd(config, _options, name, command):
    ttl_s = max(1, config["ttl_ms"] // 1000)
    return ["etcdctl", "--endpoints", config["urls"][0], "lock", f"--ttl={ttl_s}",
            "--", name, *command]


LOCKERS = {"cflock": cflock, "setnx": setnx, "redispy": redispy, "etcd": etcd}

# A script that becomes the work itself: as long as it runs, the lock is attached.
ATTACH = ('name=$1; shift; lock=$("$@" --attach $$ "$name") || exit; '
          'eval "$lock"; exec "$work" $words')


class Contender(threading.Thread):
    """One who asks, and asks again."""

    def __init__(self, config, host, index, number):
        super().__init__()
        self.config = config
        self.host = host
        self.index = index
        self.slot = number * RUNS_EACH
        self.random = random.Random(f"{config['seed']}/{host}/{index}")
        self.events = os.open(os.path.join(config["folder"], "events"),
                              os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.stderr = open(os.path.join(config["folder"], f"stderr-{host}.{index}"),
                           "ab")
        self.run_id = None
        self.process = None

    def tell(self, event, **more):
        line = {"t": time.monotonic_ns(), "e": event, "run": self.run_id, **more}
        os.write(self.events, json.dumps(line).encode() + b"\n")

    def choose(self):
        """(name, sort, options, kind for work.c, ms, flags)"""
        rng = self.random
        ttl = self.config["ttl_ms"]
        chance = rng.random()
        if chance < self.config["long"] / 100:
            ms = rng.randint(ttl // 2, 2 * ttl + ttl // 2)
        elif chance < 0.4:
            ms = rng.randint(50, 300)
        else:
            ms = rng.randint(3, 40)
        flags = ("i" if rng.random() < 0.5 else "") + ("d" if rng.random() < 0.3 else "")
        chance = rng.random()
        options = ["-n"] if chance < 0.1 else ["-w", "2"] if chance < 0.2 else []

        sorts = self.config["sorts"]
        since = time.monotonic() - self.config["began"]
        sort = sorts[int(since / SHARE_S) % len(sorts)]
        if self.index == 0:
            sort = "one"
        # None but cflock claims to hold a lock for daemons, too.
        if self.config["locker"] != "cflock":
            flags = flags.replace("d", "")
        if sort == "shared" and rng.random() < 0.7:
            return "book", sort, [*options, "-s"], "s", ms, flags
        if sort == "shared":
            return "book", sort, options, "x", ms, flags
        if sort == "slots":
            return "seats", sort, [*options, "-m", "2"], "2", ms, flags
        if sort == "cooldown":
            cooldown = ["--cooldown", f"{self.config['cooldown_ms']}ms"]
            return "daily", sort, [*options, *cooldown], "x", min(ms, 100), flags
        if sort == "attach":
            return "script", sort, options, "x", ms, flags.replace("d", "")
        return sort, sort, options, "x", ms, flags

    def one_run(self):
        name, sort, options, kind, ms, flags = self.choose()
        config = self.config
        self.slot += 1
        self.run_id = f"{self.host}.{self.index}.{self.slot % RUNS_EACH}"
        work = [config["work"], self.run_id, str(self.slot), name, kind, str(ms),
                flags or "-"]
        env = dict(os.environ, TORTURE_RUN=self.run_id, TORTURE_DIR=config["folder"],
                   CFLOCK_CONFIG="", CFLOCK_LOG="json", ETCDCTL_API="3",
                   **config["env"][self.host])
        if sort == "attach":
            env["work"] = work[0]
            env["words"] = " ".join(work[1:])
            argv = ["bash", "-c", ATTACH, "script", name,
                    *cflock(config, options, name, [])[:-1]]
        else:
            # A shell between, which is what an incomplete kill would end.
            argv = LOCKERS[config["locker"]](
                config, options, name, ["sh", "-c", '"$@"; exit $?', "sh", *work])
        self.tell("ask", host=self.host, name=name, sort=sort, slot=self.slot,
                  kind=kind, ms=ms, flags=flags, waits=options[:1] not in (["-n"], ["-w"]))
        self.process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=self.stderr)
        code = self.process.wait()
        self.tell("done", code=code)
        return code

    def run(self):
        stop = os.path.join(self.config["folder"], "stop")
        while not os.path.exists(stop):
            code = self.one_run()
            # Whoever is refused at once would else do nothing but ask.
            time.sleep(self.random.uniform(0, 0.02) if code == 0 else
                       self.random.uniform(0.05, 0.15))


def reap(contenders):
    """Ends the zombies of what has lost its parent, and come to us."""
    while any(c.is_alive() for c in contenders):
        time.sleep(0.5)
        own = {c.process.pid for c in contenders if c.process}
        for thread in os.listdir("/proc/self/task"):
            path = f"/proc/self/task/{thread}/children"
            try:
                with open(path, encoding="ascii") as file:
                    children = [int(word) for word in file.read().split()]
            except OSError:
                continue
            for pid in children:
                try:
                    with open(f"/proc/{pid}/stat", encoding="utf-8",
                              errors="replace") as file:
                        is_zombie = file.read().rsplit(")", 1)[1].split()[0] == "Z"
                    # Of ours, only those that were there when we looked.
                    if is_zombie and pid not in own and not any(
                            c.process and c.process.pid == pid for c in contenders):
                        os.waitpid(pid, os.WNOHANG)
                except (OSError, ChildProcessError):
                    pass


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        config = json.load(file)
    host = sys.argv[2]
    # What is orphaned here stays here, and is found.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    first = config["hosts"].index(host) * config["contenders"]
    contenders = [Contender(config, host, i, first + i)
                  for i in range(config["contenders"])]
    for contender in contenders:
        contender.start()
    reap(contenders)


if __name__ == "__main__":
    main()
