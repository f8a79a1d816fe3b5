#!/usr/bin/env python3
"""Made-up logs, one for each violation: that the checker sees each of them, and
none where there is none."""

import copy
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True

import checker  # pylint: disable=wrong-import-position
import picture  # pylint: disable=wrong-import-position
from checker import MS, S, Log, Run  # pylint: disable=wrong-import-position

TTL = 2 * S


def run(number, start_ms, last_ms, kind="x", name="one", **more):
    """One that ended well."""
    fields = {"asked": (start_ms - 10) * MS, "start": start_ms * MS,
              "token": 1000 + number, "ends": [last_ms * MS], "host": "h1",
              "done": (last_ms + 5) * MS}
    return Run(f"r{number}", name, kind, **{**fields, **more})


def log_of(*runs, **more):
    log = Log(TTL, cooldown=700 * MS, **more)
    log.runs = {r.run: r for r in runs}
    return log


def good_log():
    log = log_of(run(1, 100, 200), run(2, 210, 300), run(3, 310, 400))
    log.counts = {"one": [(1, "r1"), (2, "r2"), (3, "r3")]}
    log.fences = {"one": [(0, 1001, "r1", "r"), (1, 1001, "r1", "w"),
                          (1, 1002, "r2", "r"), (2, 1002, "r2", "w")]}
    log.events = [{"t": 0, "e": "calm", "until": 20 * S},
                  {"t": 0, "e": "memory", "server": "s1", "pid": 1, "bytes": 100,
                   "scripts": 5},
                  {"t": 9 * S, "e": "memory", "server": "s1", "pid": 1, "bytes": 200,
                   "scripts": 6},
                  {"t": 20 * S, "e": "orphans", "processes": []},
                  {"t": 20 * S, "e": "keys", "keys": []},
                  {"t": 20 * S, "e": "unfinished", "hosts": []}]
    return log


class Checker(unittest.TestCase):
    """Each test breaks one thing."""

    def setUp(self):
        self.log = good_log()

    def faulty(self):
        return {v.name for v in checker.check(self.log) if not v.is_good}

    def expect(self, *names):
        self.assertEqual(self.faulty(), set(names))

    def add(self, **event):
        self.log.events.append({"t": 0, **event})

    def test_nothing(self):
        self.expect()

    def test_overlap_of_stamps(self):
        self.log.runs["r1"].ends = [215 * MS]
        self.expect("no two at once, by stamps")

    def test_overlap_of_one_that_was_killed_late(self):
        self.log.runs["r1"].ends = []
        self.log.runs["r1"].code = 79
        self.log.runs["r1"].beat = 350 * MS
        self.expect("no two at once, by stamps")

    def test_overlap_of_a_daemon(self):
        self.log.runs["r1"].ends.append(215 * MS)
        self.expect("no two at once, by stamps")

    def test_overlap_seen_by_the_kernel(self):
        self.log.runs["r2"].alone = False
        self.expect("no two at once, by the kernel")

    def test_shared_beside_shared(self):
        for one in self.log.runs.values():
            one.kind, one.ends = "s", [400 * MS]
        self.expect()

    def test_shared_beside_exclusive(self):
        self.log.runs["r1"].kind = "s"
        self.log.runs["r1"].ends = [215 * MS]
        self.expect("no two at once, by stamps")

    def test_slots(self):
        for one in self.log.runs.values():
            one.kind, one.ends = "2", [305 * MS]
        self.expect()
        self.log.runs["r2"].ends = [450 * MS]
        self.log.runs["r1"].ends = [450 * MS]
        self.expect("slots are kept")

    def test_lost_update(self):
        self.log.counts["one"][2] = (2, "r3")
        self.expect("no lost update")

    def test_token_that_is_lower(self):
        self.log.runs["r3"].token = 1001
        self.expect("tokens only grow")

    def test_token_that_is_the_same(self):
        self.log.runs["r3"].token = 1002
        self.expect("tokens only grow")

    def test_tokens_of_shared_locks_in_any_order(self):
        for one, token in zip(self.log.runs.values(), (3, 1, 2)):
            one.kind, one.token = "s", token
        self.expect()
        self.log.runs["r3"].token = 3
        self.expect("tokens only grow")

    def test_fence_with_one_token_for_two(self):
        self.log.fences["one"][2] = (1, 1001, "r2", "r")
        self.expect("the fence holds")

    def test_fence_with_a_lower_token(self):
        self.log.fences["one"] += [(2, 1001, "r1", "r")]
        self.expect("the fence holds")

    def test_fence_with_a_lost_update(self):
        self.log.fences["one"][3] = (1, 1002, "r2", "w")
        self.expect("the fence holds")

    def test_cooldown(self):
        for one in self.log.runs.values():
            one.sort = "cooldown"
        self.expect("cooldowns are kept")
        self.add(e="nemesis", nemesis="flush", number=1, group="server", forgets=True)
        self.expect()

    def test_stuck(self):
        self.log.runs["r4"] = run(4, 0, 0, start=0, ends=[], asked=500 * MS,
                                  done=19 * S)
        self.expect("no lock is stuck")
        self.log.runs["r4"].waits = False
        self.expect()

    def test_stuck_until_somebody_has_it(self):
        self.log.runs["r4"] = run(4, 12000, 12100, asked=500 * MS)
        self.expect("no lock is stuck")
        self.log.runs["r5"] = run(5, 6000, 6100, token=1003)
        self.log.runs["r4"].token = 1005
        self.log.runs["r5"].token = 1004
        self.expect()

    def test_stuck_in_the_end(self):
        self.log.of("unfinished")[0]["hosts"] = ["h1"]
        self.expect("no lock is stuck")

    def test_orphans(self):
        self.log.of("orphans")[0]["processes"] = ["work (7) on h1"]
        self.expect("no process is left behind")

    def test_keys(self):
        self.log.of("keys")[0]["keys"] = ["s1: cflock:{one}:line"]
        self.expect("no key is left behind")

    def test_memory(self):
        self.log.of("memory")[1]["bytes"] = 2000000
        self.expect("Redis does not grow")

    def test_scripts(self):
        self.log.of("memory")[1]["scripts"] = 50
        self.expect("Redis does not grow")

    def test_codes(self):
        self.log.runs["r1"].code = 70
        self.expect("exit codes")

    def test_zero_for_a_command_that_was_stopped(self):
        self.log.runs["r1"].ends = []
        self.expect("exit codes")

    def test_excused_but_for_the_fence(self):
        self.log.runs["r1"].ends = [215 * MS]
        self.log.fences["one"][2] = (1, 1001, "r2", "r")
        self.add(e="nemesis", nemesis="stop-both", number=1, group="beyond",
                 forgets=False)
        self.expect("the fence holds")
        verdict = checker.check_overlap(self.log)
        self.assertEqual(len(verdict.excused), 1)

    def test_not_excused_by_what_came_long_before(self):
        self.log.runs["r1"].ends = [215 * MS]
        self.add(e="nemesis", nemesis="stop-both", number=1, group="beyond",
                 forgets=False, t=-100 * S)
        self.add(e="nemesis-over", number=1, t=-90 * S)
        self.expect("no two at once, by stamps")

    def test_starved(self):
        self.log.runs["r1"].ends = [215 * MS]
        self.add(e="starved", since=0, t=150 * MS, ms=150)
        self.expect("no two at once, by stamps")
        self.add(e="starved", since=0, t=250 * MS, ms=250)
        self.expect()

    def test_report_and_picture(self):
        self.log.runs["r1"].ends = [215 * MS]
        verdicts = checker.check(self.log)
        self.assertIn("VIOLATED 1 times", checker.table(self.log, verdicts))
        with tempfile.TemporaryDirectory() as folder:
            names = picture.draw(self.log, copy.deepcopy(verdicts), folder)
            self.assertEqual(names, ["timeline.svg", "violation-1.svg"])
            with open(os.path.join(folder, names[1]), encoding="utf-8") as file:
                self.assertIn("r2", file.read())


if __name__ == "__main__":
    unittest.main()
