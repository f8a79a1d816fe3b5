"""Reads what a run of the chamber has left, and judges it.

read() makes a Log of a folder; check() is pure, and gives a Verdict a property.
Times are ns of CLOCK_MONOTONIC.
"""

import collections
import dataclasses
import json
import os
import struct

MS = 1000000
S = 1000 * MS
STUCK_NS = 5 * S  # beyond the ttl
MEMORY_GROWTH = 64 * 1024
SCRIPTS_MOST = 20
# Of cflock: usage, bug, system, configuration, not executable, crashed.
BAD_CODES = (64, 70, 71, 78, 126, 127, -4, -6, -7, -8, -11, 132, 134, 135, 136, 139)


@dataclasses.dataclass
class Run:
    """One locker that was started, and the command under it, if that was."""

    run: str
    name: str
    kind: str  # of work.c: x, s, or the number of slots
    sort: str = ""
    host: str = ""
    slot: int = 0
    asked: int = 0
    flags: str = ""
    waits: bool = True  # without limit
    start: int = 0  # 0: the command was never started
    token: int = 0
    alone: bool = True
    pid: int = 0
    ends: list = dataclasses.field(default_factory=list)
    beat: int = 0
    done: int = 0
    code: int = 0

    @property
    def last(self):
        """When it was last seen alive: it died then, or later."""
        return max([self.start, self.beat, *self.ends])


@dataclasses.dataclass
class Log:
    ttl: int
    locker: str = "cflock"
    cooldown: int = 0
    beyond: tuple = ("beyond", "replica")  # groups of nemeses
    runs: dict = dataclasses.field(default_factory=dict)
    events: list = dataclasses.field(default_factory=list)  # all others
    counts: dict = dataclasses.field(default_factory=dict)  # name: [(value, run)]
    fences: dict = dataclasses.field(default_factory=dict)  # name: lines
    messages: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)  # of cflock, by event

    def of(self, event):
        return [e for e in self.events if e["e"] == event]

    def started(self):
        return sorted((r for r in self.runs.values() if r.start),
                      key=lambda r: r.start)

    def by_name(self):
        names = collections.defaultdict(list)
        for run in self.started():
            names[run.name].append(run)
        return names


@dataclasses.dataclass
class Fault:
    """A violation: when, whose, and what it is."""

    at: int
    runs: tuple
    text: str


@dataclasses.dataclass
class Verdict:
    name: str
    faults: list
    excused: list  # where nothing was promised
    text: str = ""

    @property
    def is_good(self):
        return not self.faults


# --- reading

def _lines(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def _add(log, event):
    kind = event["e"]
    run = log.runs.get(event.get("run"))
    if kind == "begin":
        log.ttl = event["ttl_ms"] * MS
        log.locker = event["locker"]
        log.beyond = tuple(event.get("beyond", ("beyond",)))
        log.cooldown = event["cooldown_ms"] * MS
    if kind == "ask":
        log.runs[event["run"]] = Run(
            event["run"], event["name"], event["kind"], event["sort"], event["host"],
            event["slot"], event["t"], event["flags"], event["waits"])
    elif kind == "start" and run:
        run.start = event["from"]
        run.token = int(event["token"] or 0)
        run.alone = event["alone"]
        run.pid = event["pid"]
    elif kind == "end" and run:
        run.ends.append(event["t"])
    elif kind == "done" and run:
        run.done = event["t"]
        run.code = event["code"]
    else:
        log.events.append(event)


def read(folder):
    log = Log(0)
    events = [json.loads(line) for line in _lines(os.path.join(folder, "events"))]
    # A run's own lines may be written in another order than they are dated.
    for event in sorted(events, key=lambda e: (e["t"], e["e"] != "ask")):
        _add(log, event)
    try:
        with open(os.path.join(folder, "beats"), "rb") as beats:
            for run in log.runs.values():
                beats.seek(run.slot * 8)
                data = beats.read(8)
                run.beat = struct.unpack("q", data)[0] if len(data) == 8 else 0
    except FileNotFoundError:
        pass
    for entry in os.listdir(folder):
        path = os.path.join(folder, entry)
        if entry.endswith(".count"):
            log.counts[entry[:-6]] = [
                (int(value), run) for value, run in map(str.split, _lines(path))]
        elif entry.endswith(".fence"):
            log.fences[entry[:-6]] = [
                (int(value), int(token), run, what)
                for value, token, run, what in map(str.split, _lines(path))]
        elif entry.startswith("stderr-"):
            for line in _lines(path):
                try:
                    log.messages[json.loads(line).get("event")] += 1
                except (ValueError, AttributeError):
                    log.messages["other"] += 1
    return log


# --- what is not promised

def excuses(log):
    """[(from, to, why)]: what happens then does not count."""
    found = []
    over = {e["number"]: e["t"] for e in log.of("nemesis-over")}
    for event in log.of("nemesis"):
        if event["group"] in log.beyond:
            end = over.get(event["number"], event["t"])
            found.append((event["t"], end + 3 * log.ttl, event["nemesis"]))
    # A tenth of a ttl is what a holder has in reserve when it kills.
    for event in log.of("starved"):
        if event["ms"] * MS > log.ttl // 10:
            found.append((event["since"], event["t"] + log.ttl,
                          f"starved for {event['ms']} ms"))
    return found


def judge(log, name, faults, text="", always=False):
    """Sorts the faults; with `always`, nothing is an excuse."""
    windows = [] if always else excuses(log)
    real, excused = [], []
    for fault in faults:
        whys = [why for since, until, why in windows if since <= fault.at <= until]
        if whys:
            fault.text += f" ({whys[0]})"
        (excused if whys else real).append(fault)
    return Verdict(name, real, excused, text)


# --- the properties

def is_compatible(a, b):
    return a.kind == b.kind and a.kind != "x"


def check_overlap(log):
    """By the stamps: from a start to the last sign of life."""
    faults, pairs = [], 0
    for name, runs in log.by_name().items():
        alive = []
        for run in runs:
            alive = [a for a in alive if a.last > run.start]
            for other in alive:
                pairs += 1
                if not is_compatible(run, other):
                    faults.append(Fault(run.start, (other.run, run.run),
                                        f"{name}: {run.run} began "
                                        f"{(other.last - run.start) / MS:.1f} ms before "
                                        f"{other.run} was last seen alive"))
            alive.append(run)
    return judge(log, "no two at once, by stamps", faults,
                 f"{len(log.started())} runs, {pairs} lawful pairs")


def check_witness(log):
    """By the kernel's locks, which end with the last process of a run."""
    faults = [Fault(run.start, (run.run,),
                    f"{run.name}: {run.run} found another one alive")
              for run in log.started() if not run.alone]
    return judge(log, "no two at once, by the kernel", faults)


def check_slots(log):
    """Never more beside one another than there are seats."""
    faults, most = [], 0
    for name, runs in log.by_name().items():
        alive = []
        for run in runs:
            alive = [a for a in alive if a.last > run.start] + [run]
            seated = [a for a in alive if a.kind.isdigit()]
            if seated:
                most = max(most, len(seated))
                if len(seated) > int(seated[-1].kind):
                    faults.append(Fault(run.start, tuple(a.run for a in seated),
                                        f"{name}: {len(seated)} at once"))
    return judge(log, "slots are kept", faults, f"at most {most} at once")


def check_counts(log):
    faults, writes = [], 0
    for name, lines in log.counts.items():
        seen = {}
        for value, run in lines:
            writes += 1
            if value in seen:
                at = log.runs[run].last if run in log.runs else 0
                faults.append(Fault(at, (seen[value], run),
                                    f"{name}: {value} written by {seen[value]} and "
                                    f"again by {run}"))
            seen[value] = run
    return judge(log, "no lost update", faults, f"{writes} writes")


def check_tokens(log):
    """Each is larger than those of all that started before and excluded it."""
    faults, count = [], 0
    for name, runs in log.by_name().items():
        highest, highest_alone, seen = None, None, {}
        for run in runs:
            if not run.token:
                continue
            count += 1
            rival = highest if run.kind == "x" else highest_alone
            if rival and run.token <= rival.token:
                faults.append(Fault(run.start, (rival.run, run.run),
                                    f"{name}: token {run.token} of {run.run} after "
                                    f"{rival.token} of {rival.run}"))
            elif run.token in seen:
                faults.append(Fault(run.start, (seen[run.token], run.run),
                                    f"{name}: token {run.token} twice"))
            seen[run.token] = run.run
            if not highest or run.token > highest.token:
                highest = run
            if run.kind == "x" and (not highest_alone
                                    or run.token > highest_alone.token):
                highest_alone = run
    return judge(log, "tokens only grow", faults, f"{count} tokens")


def check_fences(log):
    """What goes through a fence is one after the other, whatever else happens."""
    faults, writes = [], 0
    for name, lines in log.fences.items():
        value, token, owner = 0, 0, None
        for new_value, new_token, run, what in lines:
            at = log.runs[run].last if run in log.runs else 0
            if new_token < token:
                faults.append(Fault(at, (run,), f"{name}: let in {new_token} after "
                                                f"{token}"))
            if new_token == token and owner and owner != run:
                faults.append(Fault(at, (owner, run),
                                    f"{name}: {owner} and {run} have both {token}"))
            if what == "w":
                writes += 1
                if new_value != value + 1:
                    faults.append(Fault(at, (run,), f"{name}: {new_value} written "
                                                    f"after {value}"))
                value = new_value
            token, owner = new_token, run
    refused = len(log.of("fenced"))
    return judge(log, "the fence holds", faults,
                 f"{writes} writes let in, {refused} refused", always=True)


def check_cooldown(log):
    """A start's own time is not known, but it was not before it was asked for, nor
    before the one before it had ended."""
    faults, smallest, pairs, forgotten = [], None, 0, 0
    forgets = [e["t"] for e in log.of("nemesis") if e["forgets"]]
    for runs in log.by_name().values():
        runs = [r for r in runs if r.sort == "cooldown"]
        before_last = 0
        for first, second in zip(runs, runs[1:]):
            granted = max(first.asked, before_last)
            before_last = first.last
            # With the data, the cooldown is lost.
            if any(first.asked - 2 * log.ttl <= t <= second.start for t in forgets):
                forgotten += 1
                continue
            pairs += 1
            apart = second.start - first.start
            smallest = apart if smallest is None else min(smallest, apart)
            if second.start < granted + log.cooldown:
                faults.append(Fault(second.start, (first.run, second.run),
                                    f"{first.run} and {second.run}: "
                                    f"{apart / MS:.0f} ms apart"))
    text = f"{pairs} pairs"
    if smallest is not None:
        text += f", at least {smallest / MS:.0f} ms apart"
    if forgotten:
        text += f"; {forgotten} not judged, as a server forgot"
    return judge(log, "cooldowns are kept", faults, text)


def check_stuck(log):
    """In a calm, no lock is free and wanted for more than the ttl and 5 s."""
    faults, longest = [], 0
    asked = collections.defaultdict(list)
    for run in log.runs.values():
        asked[run.name].append(run)
    for calm in log.of("calm"):
        for name, runs in asked.items():
            free_since = calm["t"]
            lives = sorted((r.start, r.last) for r in runs
                           if r.start and r.last > calm["t"] and r.start < calm["until"])
            for start, last in [*lives, (calm["until"], calm["until"])]:
                # Who wanted it, and did not get it, for how long?
                for run in runs:
                    since = max(free_since, run.asked)
                    until = min(start, run.done or start)
                    if until > since and run.waits and run.sort != "cooldown":
                        longest = max(longest, until - since)
                        if until - since > log.ttl + STUCK_NS:
                            faults.append(Fault(until, (run.run,),
                                                f"{name}: {run.run} waited "
                                                f"{(until - since) / S:.1f} s for a "
                                                "free lock"))
                free_since = max(free_since, last)
    for event in log.of("unfinished"):
        if event["hosts"]:
            faults.append(Fault(event["t"], (), "still at it in the end: "
                                + ", ".join(event["hosts"])))
    return judge(log, "no lock is stuck", faults,
                 f"{len(log.of('calm'))} calms, free and wanted for at most "
                 f"{longest / MS:.0f} ms")


def check_orphans(log):
    faults = [Fault(e["t"], (), ", ".join(e["processes"]))
              for e in log.of("orphans") if e["processes"]]
    return judge(log, "no process is left behind", faults)


def check_keys(log):
    faults = [Fault(e["t"], (), ", ".join(e["keys"]))
              for e in log.of("keys") if e["keys"]]
    return judge(log, "no key is left behind", faults)


def check_memory(log):
    """Keys from the first calm to the end, and scripts, of the same process."""
    faults, most, scripts = [], 0, 0
    first = {}
    for event in log.of("memory"):
        grown = event["bytes"] - first.setdefault(event["pid"], event["bytes"])
        most, scripts = max(most, grown), max(scripts, event["scripts"])
        if grown > MEMORY_GROWTH or event["scripts"] > SCRIPTS_MOST:
            faults.append(Fault(event["t"], (), f"{event['server']}: {grown} bytes "
                                f"more than at first, {event['scripts']} scripts"))
    return judge(log, "Redis does not grow", faults,
                 f"by {most} bytes at most, {scripts} scripts")


def check_codes(log):
    counts = collections.Counter(r.code for r in log.runs.values() if r.done)
    faults = [Fault(r.done, (r.run,), f"{r.run} ended with {r.code}")
              for r in log.runs.values()
              if log.locker == "cflock" and r.done and r.code in BAD_CODES]
    faults += [Fault(r.start, (r.run,), f"{r.run}: its command was stopped, and it "
                                        "ended with 0")
               for r in log.started() if log.locker == "cflock" and r.done
               and r.sort != "attach" and r.code == 0 and not r.ends]
    text = ", ".join(f"{code}: {count}" for code, count in sorted(counts.items()))
    return judge(log, "exit codes", faults, text)


CHECKS = (check_overlap, check_witness, check_slots, check_counts, check_tokens,
          check_fences, check_cooldown, check_stuck, check_orphans, check_keys,
          check_memory, check_codes)


def check(log):
    return [one(log) for one in CHECKS]


# --- the report

def margin(log):
    """ms from the death of one whose lease was lost, or whose cflock was killed, to
    the next start of its lock: the smallest, and of how many."""
    margins = []
    for runs in log.by_name().values():
        for run, following in zip(runs, runs[1:]):
            if (not run.ends and run.code in (79, -9)
                    and not is_compatible(run, following)):
                margins.append((following.start - run.last) / MS)
    return min(margins, default=None), len(margins)


def summary(log):
    nemeses = collections.Counter(e["nemesis"] for e in log.of("nemesis"))
    smallest, stopped = margin(log)
    starts = log.started()
    lasted = (starts[-1].start - starts[0].start) / S if len(starts) > 1 else 0
    lines = [
        f"{len(starts)} acquisitions"
        + (f", {len(starts) / lasted * 3600:.0f} an hour" if lasted else ""),
        f"{sum(nemeses.values())} nemeses: "
        + ", ".join(f"{n} {c}" for n, c in sorted(nemeses.items())),
        f"{sum(r.code == 79 for r in log.runs.values())} losses, "
        f"{log.messages['taken_over']} takeovers, {stopped} runs stopped"
        + (f", the smallest margin from death to the next start {smallest:.1f} ms"
           if smallest is not None else "")]
    starved = [e["ms"] for e in log.of("starved")]
    if starved:
        lines.append(f"nothing ran here for up to {max(starved)} ms, {len(starved)} "
                     "times more than 60 ms")
    failed = log.of("nemesis-failed")
    if failed:
        lines.append(f"{len(failed)} nemeses failed: " + ", ".join(
            sorted({f"{e['nemesis']}: {e['error']}" for e in failed})))
    return lines


def table(log, verdicts):
    lines = summary(log)
    for verdict in verdicts:
        word = "good" if verdict.is_good else f"VIOLATED {len(verdict.faults)} times"
        if verdict.excused:
            word += f" ({len(verdict.excused)} excused)"
        lines.append(f"{verdict.name:32}{word}" + (
            f"; {verdict.text}" if verdict.text else ""))
        for fault in (verdict.faults + verdict.excused)[:5]:
            mark = "  " if fault in verdict.faults else "  excused: "
            lines.append(mark + f"at {fault.at / S:.3f}: {fault.text}")
    return "\n".join(lines)
