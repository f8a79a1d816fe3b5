"""terminal.py: an interactive bash with job control on a terminal of its own.

Reads what to do from stdin, one thing a line:

    line TEXT       type TEXT and Enter
    key C-c         type one control character
    expect REGEX    wait for it in what came since the last match
    prompt          wait for bash's prompt
    poll COMMAND    repeat a shell command, outside the terminal, until it
                    succeeds
    check COMMAND   once: it must succeed
    resize R C      change the size of the window
    hangup          close the terminal, and wait for bash to end

Exits with 0 when all went as it should; else shows what was on the terminal.
"""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

LIMIT_S = float(os.environ.get("TERMINAL_LIMIT_S", 30))
PROMPT = "@> "


class Failed(Exception):
    pass


class Terminal:
    def __init__(self):
        self.seen = ""
        self.matched = 0
        ready, go = os.pipe()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.close(go)
            os.read(ready, 1)
            os.close(ready)
            # python ignores some; a shell's background, others
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT,
                           signal.SIGXFSZ, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)
            os.environ.update(PS1=PROMPT, PS2="", TERM="dumb", HISTFILE="")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting",
                               "-i"])
        os.close(ready)
        mode = termios.tcgetattr(self.master)
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(self.master, termios.TCSANOW, mode)
        os.close(go)

    def read(self, seconds):
        """Returns False at the end of the terminal."""
        if self.master < 0:
            time.sleep(seconds)
            return True
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += data.decode(errors="replace").replace("\r", "")
        return bool(data)

    def expect(self, pattern):
        end = time.monotonic() + LIMIT_S
        while True:
            match = re.compile(pattern, re.M).search(self.seen, self.matched)
            if match:
                self.matched = match.end()
                return
            left = end - time.monotonic()
            if left <= 0:
                raise Failed("never came: " + pattern)
            if not self.read(min(left, 1)):
                raise Failed("the terminal ended before: " + pattern)

    def poll(self, command):
        end = time.monotonic() + LIMIT_S
        while subprocess.call(["bash", "-c", command],
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL):
            if time.monotonic() > end:
                raise Failed("never succeeded: " + command)
            self.read(0.01)

    def do(self, verb, rest):
        if verb == "line":
            os.write(self.master, rest.encode() + b"\n")
        elif verb == "key":
            os.write(self.master, bytes([ord(rest[2].upper()) ^ 0x40]))
        elif verb == "expect":
            self.expect(rest)
        elif verb == "prompt":
            self.expect(re.escape(PROMPT))
        elif verb == "poll":
            self.poll(rest)
        elif verb == "check":
            if subprocess.call(["bash", "-c", rest]):
                raise Failed("failed: " + rest)
        elif verb == "resize":
            rows, columns = map(int, rest.split())
            fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                        struct.pack("HHHH", rows, columns, 0, 0))
        elif verb == "hangup":
            self.close()
        else:
            raise Failed("what is " + verb)

    def close(self):
        if self.master < 0:
            return
        os.close(self.master)
        self.master = -1
        end = time.monotonic() + LIMIT_S
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise Failed("bash outlived its terminal")
            time.sleep(0.01)


terminal = Terminal()
try:
    for text in sys.stdin:
        verb, _, rest = text.strip().partition(" ")
        if verb:
            terminal.do(verb, rest)
    terminal.close()
except Failed as failure:
    print("%s\non the terminal:\n%s" % (failure, terminal.seen))
    subprocess.call(["pkill", "-KILL", "-s", str(terminal.pid)])
    sys.exit(1)
