"""What can go wrong: a table of nemeses, and the schedule, made from the seed.

A nemesis is begun with (chamber, rng), and returns what it has hit, in words, and
what undoes it, or None; or None when there is nothing to be hit.  The groups
"beyond" and "replica" are of those that cflock promises nothing about but for
fencing (SAFETY in the manual); "replica" of those that leave two masters for a
while, which --min-replicas is there for: with that, they count.
"""

import collections
import os
import random
import signal
import subprocess
import time

import resp

Nemesis = collections.namedtuple(
    "Nemesis", "name begin weight lasts_ttl where group forgets")
TABLE = {}

EVERYWHERE = ("single", "sentinel", "cluster", "quorum3", "quorum5", "etcd")
RESTARTED = ("single", "quorum3", "quorum5", "etcd")
REPLICATED = ("sentinel", "cluster")
QUORUM = ("quorum3", "quorum5")


def nemesis(name, lasts_ttl, weight=2, where=EVERYWHERE, group="process",
            forgets=False):
    """Decorates begin(); lasts_ttl: from and to, in ttls."""
    def add(begin):
        TABLE[name] = Nemesis(name, begin, weight, lasts_ttl, where, group, forgets)
        return begin
    return add


# --- processes of the contenders

def pick_run(chamber, rng, comm):
    """One of the runs that have a process of that name: (host, run, pids by comm).

    Each is hit once only: hit twice, both that watch over each other may be.
    """
    found = []
    for host in chamber.clients:
        runs = {}
        processes = chamber.processes_of(host)
        names = {process.pid: process.name for process in processes}
        for process in processes:
            # What it has forked, and is to become another program, bears its name.
            if process.run and names.get(process.parent) != process.name:
                by_name = runs.setdefault(process.run, {})
                by_name.setdefault(process.name, []).append(process.pid)
        found += [(host, run, pids) for run, pids in sorted(runs.items())
                  if comm in pids and run not in chamber.touched]
    holders = [f for f in found if "work" in f[2]]
    if holders and rng.random() < 0.8:
        found = holders
    if not found:
        return None
    host, run, pids = rng.choice(found)
    chamber.touched.add(run)
    return host, run, pids


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def on_process(comms, number):
    def begin(chamber, rng):
        picked = pick_run(chamber, rng, comms[0])
        if not picked:
            return None
        host, run, by_comm = picked
        pids = [pid for comm in comms for pid in by_comm.get(comm, [])]
        send(pids, number)
        undo = None
        if number == signal.SIGSTOP:
            def undo():
                send(pids, signal.SIGCONT)
        return f"{run} on {host}", undo
    return begin


# The locker itself: what is started is named after its program.
def add_process_nemeses():
    for comm, title in (("locker", "locker"), ("lease-guardian", "guardian")):
        TABLE_PROCESS = (
            (f"kill-{title}", signal.SIGKILL, (0, 0)),
            (f"stop-{title}-short", signal.SIGSTOP, (0.1, 0.5)),
            (f"stop-{title}-long", signal.SIGSTOP, (1.2, 2.5)))
        for name, number, lasts in TABLE_PROCESS:
            nemesis(name, lasts, 4)(on_process([comm], number))
    nemesis("kill-command", (0, 0), 1)(on_process(["sh"], signal.SIGKILL))
    nemesis("stop-command", (0.2, 2), 1)(on_process(["sh"], signal.SIGSTOP))
    nemesis("kill-both", (0, 0), group="beyond")(
        on_process(["lease-guardian", "locker"], signal.SIGKILL))
    nemesis("stop-both", (1.2, 2.5), group="beyond")(
        on_process(["lease-guardian", "locker"], signal.SIGSTOP))


add_process_nemeses()


@nemesis("freeze-host", (1.2, 2.5), group="beyond")
def freeze_host(chamber, rng):
    host = rng.choice(chamber.clients)
    processes = [p for p in chamber.processes_of(host) if p.run]
    pids = [p.pid for p in processes]
    chamber.touched.update(p.run for p in processes)
    send(pids, signal.SIGSTOP)
    return host, lambda: send(pids, signal.SIGCONT)


# --- servers

def untouched(servers):
    return [s for s in servers if s.process and not s.is_frozen and not s.is_taken]


def pick_server(chamber, rng, servers):
    servers = untouched(servers)
    return rng.choice(servers) if servers else None


def freeze(chamber, rng, servers):
    server = pick_server(chamber, rng, servers)
    if not server:
        return None
    server.signal(signal.SIGSTOP)
    return server.name, lambda: server.signal(signal.SIGCONT)


@nemesis("freeze-server-short", (0.1, 0.4), group="server")
def freeze_server_short(chamber, rng):
    return freeze(chamber, rng, chamber.topology.stores() or chamber.topology.servers)


@nemesis("freeze-server-long", (1.1, 2.5), where=RESTARTED, group="server")
def freeze_server_long(chamber, rng):
    return freeze(chamber, rng, chamber.topology.stores() or chamber.topology.servers)


@nemesis("freeze-all-servers", (0.3, 1.5), 1, QUORUM, "server")
def freeze_all(chamber, _rng):
    servers = untouched(chamber.topology.servers)
    for server in servers:
        server.signal(signal.SIGSTOP)

    def undo():
        for server in servers:
            server.signal(signal.SIGCONT)
    return "all", undo


def restart(how):
    def begin(chamber, rng):
        server = pick_server(chamber, rng, chamber.topology.servers)
        if not server:
            return None
        # Else another nemesis could restart it in between: two would be started.
        server.is_taken = True
        if how == "stale":
            server.keep()
            time.sleep(rng.uniform(0.1, 0.5) * chamber.ttl_s)
        server.kill()
        if how == "empty":
            server.forget()
        elif how == "stale":
            server.put_back()
        return server.name, server.start
    return begin


nemesis("restart-keep", (0, 0.6), where=RESTARTED, group="server")(restart("keep"))
nemesis("restart-empty", (0, 0.4), where=RESTARTED, group="server",
        forgets=True)(restart("empty"))
nemesis("restart-stale", (0, 0.4), 1, ("single", *QUORUM), "server",
        forgets=True)(restart("stale"))


@nemesis("flush", (0, 0), 1, ("single", *QUORUM), "server", True)
def flush(chamber, rng):
    server = pick_server(chamber, rng, chamber.topology.stores())
    if not server:
        return None
    server.ask("flushall")
    return server.name, None


@nemesis("fail-over", (1, 2), 4, ("cluster",), "server", True)
def fail_over(chamber, rng):
    masters = chamber.topology.masters()
    master = pick_server(chamber, rng, masters)
    replica = chamber.topology.replica_of(master) if master else None
    if not replica:
        return None
    replica.ask("cluster", "failover")
    return f"{master.name} to {replica.name}", None


# Which lets the old master be one for some 10 s more, beside the new one; a fail-over
# in these goes back to a master that was never told that it was none.
@nemesis("ask-sentinel", (1, 2), 3, ("sentinel",), "server", True)
def ask_sentinel(chamber, _rng):
    return ("asked", None) if chamber.topology.fail_over() else None


@nemesis("kill-master", (1.5, 3), 3, REPLICATED, "server", True)
def kill_master(chamber, rng):
    server = pick_server(chamber, rng, chamber.topology.masters())
    if not server:
        return None
    server.kill()
    return server.name, server.start


@nemesis("freeze-master", (1.2, 3), where=REPLICATED, group="replica", forgets=True)
def freeze_master(chamber, rng):
    return freeze(chamber, rng, chamber.topology.masters())


@nemesis("isolate-master", (1.2, 3), where=REPLICATED, group="replica", forgets=True)
def isolate_master(chamber, rng):
    server = pick_server(chamber, rng, chamber.topology.masters())
    if not server:
        return None
    others = [h for h in chamber.topology.hosts if h != server.host]
    return server.name, chamber.set_links(
        [(server.host, other) for other in others]
        + [(other, server.host) for other in others], loss_permille=1000)


@nemesis("freeze-sentinel", (0.5, 2), 1, ("sentinel",), "server")
def freeze_sentinel(chamber, rng):
    return freeze(chamber, rng, chamber.topology.sentinels())


@nemesis("kill-sentinel", (0.5, 2), 1, ("sentinel",), "server")
def kill_sentinel(chamber, rng):
    server = pick_server(chamber, rng, chamber.topology.sentinels())
    if not server:
        return None
    server.kill()
    return server.name, server.start


@nemesis("delete-key", (0, 0), 1, ("single",), "beyond", True)
def delete_key(chamber, _rng):
    chamber.topology.stores()[0].ask("del", "cflock:{one}")
    return "one", None


# --- the network: links between a contenders' host and the servers

def on_links(directions, most_servers=99, **rule):
    """Rules as of Net.rule(); a pair is from and to, of which one is taken."""
    def begin(chamber, rng):
        host = rng.choice(chamber.clients)
        servers = list(chamber.topology.hosts)
        count = rng.randint(1, min(most_servers, len(servers)))
        if rng.random() < 0.5:
            count = min(most_servers, len(servers))
        servers = rng.sample(servers, count)
        links = []
        if "out" in directions:
            links += [(host, server) for server in servers]
        if "in" in directions:
            links += [(server, host) for server in servers]
        chosen = {key: rng.uniform(*value) if isinstance(value, tuple) else value
                  for key, value in rule.items()}
        chosen = {key: int(value) for key, value in chosen.items()}
        words = " ".join(f"{key} {value}" for key, value in chosen.items())
        return (f"{host} {'/'.join(directions)} {','.join(sorted(servers))} {words}",
                chamber.set_links(links, **chosen))
    return begin


for _name, _directions in (("cut", ("in", "out")), ("deaf", ("in",)),
                           ("mute", ("out",))):
    nemesis(_name + "-short", (0.1, 0.5), 1, group="net")(
        on_links(_directions, loss_permille=1000))
    nemesis(_name + "-long", (1, 2.5), 2, group="net")(
        on_links(_directions, loss_permille=1000))
nemesis("slow", (0.5, 2), group="net")(
    on_links(("in", "out"), delay_ms=(5, 250), jitter_ms=(0, 100)))
nemesis("lossy", (0.5, 2), group="net")(
    on_links(("in", "out"), loss_permille=(50, 400)))


@nemesis("late-then-cut", (2.2, 3), 2, group="net")
def late_then_cut(chamber, rng):
    """Answers come late, and then none: whoever counts from them, counts wrong."""
    host = rng.choice(chamber.clients)
    servers = chamber.topology.hosts
    delay_ms = rng.uniform(0.2, 0.45) * chamber.ttl_s * 1000
    inward = [(server, host) for server in servers]
    undo = chamber.set_links(inward, delay_ms=delay_ms)
    time.sleep(rng.uniform(0.5, 1) * chamber.ttl_s)
    # What is under way still arrives.
    undo_cut = chamber.set_links([(host, server) for server in servers],
                                 loss_permille=1000)

    def undo_both():
        undo()
        undo_cut()
    return f"{host} by {delay_ms:.0f} ms", undo_both


# --- clocks, and the machine

@nemesis("client-clock", (0.5, 3), 1, group="clock")
def client_clock(chamber, rng):
    host = rng.choice(chamber.clients)
    ahead_s = rng.choice((-1, 1)) * 10 ** rng.uniform(0, 5)
    chamber.set_clock(host, ahead_s)
    return f"{host} by {ahead_s:.0f} s", lambda: chamber.set_clock(host, 0)


@nemesis("server-clock-back", (0, 0), 1, ("single", *QUORUM), "clock")
def server_clock_back(chamber, rng):
    host = rng.choice(chamber.topology.hosts)
    back_s = rng.uniform(0.1, 1) * chamber.ttl_s
    # It stays so: to undo it would set the clock forward.
    chamber.set_clock(host, chamber.clock(host) - back_s)
    return f"{host} by {back_s:.1f} s", None


@nemesis("server-clock-forward", (0, 0), 1, ("single", *REPLICATED, *QUORUM), "beyond")
def server_clock_forward(chamber, rng):
    host = rng.choice(chamber.topology.hosts)
    chamber.set_clock(host, chamber.clock(host) + rng.uniform(0.5, 2) * chamber.ttl_s)
    return host, None


@nemesis("hog", (0.5, 1), 1, group="load")
def hog(chamber, rng):
    hogs = [subprocess.Popen(["sh", "-c", "while :; do :; done"],
                             stdin=subprocess.DEVNULL, start_new_session=True)
            for _ in range(rng.randint(1, os.cpu_count() or 1))]

    def undo():
        for process in hogs:
            process.kill()
            process.wait()
    return f"{len(hogs)} processes", undo


# --- the schedule

def choose(topology, groups, names):
    """The nemeses that are wanted: by `names`, or of `groups` (names of groups)."""
    unknown = set(names) - set(TABLE)
    if unknown:
        raise ValueError("no such nemesis: " + ", ".join(sorted(unknown)))
    wanted = [TABLE[n] for n in names] if names else [
        n for n in TABLE.values() if n.group in groups]
    return [n for n in wanted if topology in n.where]


def schedule(seed, seconds, ttl_s, table, topology, storm_s):
    """[{"at", "lasts", "name", "number"}] and [(from, to)] of calms, in seconds.

    Storms of `storm_s`, in which they come alone or mixed, and calms between them,
    long enough to see a lock that nobody gets.
    """
    rng = random.Random(f"{seed}/schedule")
    entries, calms = [], []
    calm_s = ttl_s + 7
    at, forgotten_until = ttl_s + 1, 0
    while table and at + calm_s + 2 < seconds:
        storm_end = min(at + storm_s, seconds - calm_s)
        busy_until = at
        while at < storm_end:
            chosen = rng.choices(table, [n.weight for n in table])[0]
            lasts = rng.uniform(*chosen.lasts_ttl) * ttl_s
            pause = rng.uniform(0.05, 0.3) if rng.random() < 0.4 else (
                lasts + rng.uniform(0.2, 1))
            # Of several servers, one after the other may forget, each given time.
            if chosen.forgets and topology in QUORUM:
                if at < forgotten_until:
                    at += 0.2
                    continue
                forgotten_until = at + lasts + 3 * ttl_s + 2
            entries.append({"at": at, "lasts": lasts, "name": chosen.name,
                            "number": len(entries)})
            busy_until = max(busy_until, at + lasts)
            at += pause
        calms.append((busy_until + 1, busy_until + 1 + calm_s))
        at = busy_until + 1 + calm_s
    return entries, calms


def hit(chamber, entry):
    """Begins one and ends it in its time; what goes wrong is written down."""
    rng = random.Random(f"{chamber.seed}/{entry['number']}")
    chosen = TABLE[entry["name"]]
    what = {"nemesis": chosen.name, "number": entry["number"], "group": chosen.group,
            "forgets": chosen.forgets}
    begun = time.monotonic_ns()
    try:
        result = chosen.begin(chamber, rng)
    except (OSError, resp.RedisError) as error:
        chamber.tell("nemesis-failed", t=begun, error=str(error), **what)
        return
    if not result:
        chamber.tell("nemesis-missed", t=begun, **what)
        return
    target, undo = result
    chamber.tell("nemesis", t=begun, target=target, **what)
    left_s = entry["lasts"] - (time.monotonic_ns() - begun) / 1e9
    if undo:
        chamber.ending.wait(max(0, left_s))
        try:
            undo()
        except (OSError, TimeoutError) as error:
            chamber.tell("nemesis-failed", error=str(error), **what)
    chamber.tell("nemesis-over", **what)
