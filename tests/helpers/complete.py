"""complete.py SHELL [ARG]...: an interactive shell on a terminal, for what its
completion makes of a line.

Types each line of stdin, then the key C-x a, which the shell has bound to
inserting all completions, then C-x d, which writes the line that there is now
into the file $COMPLETED.  Shows that, and how many ms it took, with $TIMES set.
The shell makes the file $COMPLETED once when it is ready.
"""
import os
import pty
import select
import signal
import sys
import time

LIMIT_S = float(os.environ.get("WAIT_LIMIT_S", 30))
completed = os.environ["COMPLETED"]
seen = b""


def wait_for_file(master):
    global seen
    end = time.monotonic() + LIMIT_S
    while not os.path.exists(completed):
        if time.monotonic() > end:
            raise TimeoutError
        if select.select([master], [], [], 0.005)[0]:
            seen += os.read(master, 65536)
    with open(completed) as file:
        text = file.read()
    os.remove(completed)
    return text.rstrip("\n")


pid, master = pty.fork()
if pid == 0:
    # python ignores some
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.environ.update(TERM="dumb", HISTFILE="")
    os.execvp(sys.argv[1], sys.argv[1:])

status = 0
try:
    wait_for_file(master)
    for line in sys.stdin:
        start = time.monotonic()
        os.write(master, line.rstrip("\n").encode() + b"\x18a\x18d")
        text = wait_for_file(master)
        took = int((time.monotonic() - start) * 1000)
        print("%d %s" % (took, text) if "TIMES" in os.environ else text)
        os.write(master, b"\x15")
except (OSError, TimeoutError):
    print("on the terminal:\n" + seen.decode(errors="replace"))
    status = 1
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
sys.exit(status)
