"""Runs a command for each of several tags, all at once:

    besiege.py OUT COMMAND... <TAGS

"{}" in COMMAND stands for the tag, "{port}" for what is in $HOSTILE/TAG.port.  What
it says goes to OUT/TAG.out and OUT/TAG.err.  For each a line is printed: tag, exit
code (or minus the signal), ms that it took, KiB that it had at most, how many
processes it has left behind in a session of its own, and of what kind its standard
output and error are: "nothing", "line", "lines", "unclean" (not UTF-8, or with what
steers a terminal).
"""
import glob
import os
import re
import sys
import time


def port_of(tag):
    with open(f"{os.environ['HOSTILE']}/{tag}.port", encoding="ascii") as file:
        return file.read().strip()


def start(out, tag, command):
    words = [word.replace("{}", tag) for word in command]
    if any("{port}" in word for word in words):
        words = [word.replace("{port}", port_of(tag)) for word in words]
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    for fd, name in (1, "out"), (2, "err"):
        actions.append((os.POSIX_SPAWN_OPEN, fd, f"{out}/{tag}.{name}",
                        os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644))
    return os.posix_spawnp(words[0], words, os.environ, file_actions=actions, setsid=True)


def sessions_left():
    """How many processes that have not ended there are in each session."""
    counts = {}
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] not in b"ZX":
            counts[int(fields[3])] = counts.get(int(fields[3]), 0) + 1
    return counts


# C0 but for the newline, DEL, C1, ends of lines, and what turns the writing.
STEERING = re.compile("[\0-\t\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def kind_of(path):
    with open(path, "rb") as file:
        said = file.read()
    try:
        text = said.decode()
    except UnicodeDecodeError:
        return "unclean"
    if STEERING.search(text):
        return "unclean"
    if not text:
        return "nothing"
    return "line" if text.index("\n") == len(text) - 1 else "lines"


def main():
    out, command = sys.argv[1], sys.argv[2:]
    running, ended = {}, {}
    for tag in sys.stdin.read().split():
        running[start(out, tag, command)] = tag, time.monotonic()
    while running:
        pid, status, usage = os.wait4(-1, 0)
        tag, begun = running.pop(pid)
        ms = int((time.monotonic() - begun) * 1000)
        ended[pid] = tag, os.waitstatus_to_exitcode(status), ms, usage.ru_maxrss
    # One that is just ending is not left.
    end = time.monotonic() + 1
    while ended.keys() & (counts := sessions_left()).keys() and time.monotonic() < end:
        time.sleep(0.02)
    for pid, result in ended.items():
        print(*result, counts.get(pid, 0),
              *(kind_of(f"{out}/{result[0]}.{name}") for name in ("out", "err")))


main()
