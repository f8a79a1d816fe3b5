"""screen.py: a program on a terminal of its own, of which the screen is seen.

Reads what to do from stdin, one thing a line:

    start R C COMMAND  run a shell command on a terminal of that size
    type TEXT          type TEXT and Enter
    keys TEXT          type TEXT; C-c stands for that control character
    shows REGEX        wait until the screen does
    lacks REGEX        wait until the screen does not show it
    row N REGEX        wait until that row does, counted from 1
    is STATE...        wait until all hold: alternate, cursor, wrap, echo, and
                       the opposites with a "no-" before them
    resize R C         change the size of the window
    signal NAME        to the program
    pause              no longer read what the program writes
    hangup             close the terminal
    poll COMMAND       repeat a shell command, outside the terminal, until it
                       succeeds
    check COMMAND      once: it must succeed
    ended CODE         wait for the program's end; 128 + n by signal n

Knows the sequences that every terminal knows; any other is a failure.  Exits
with 0 when all went as it should; else shows what was on the screen.
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


class Failed(Exception):
    pass


class Screen:
    """What a terminal makes of the bytes that it gets."""

    def __init__(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = [""] * rows
        self.row = self.column = 0
        self.kept = None
        self.modes = {"alternate": False, "cursor": True, "wrap": True}
        self.left = ""

    def text(self):
        return "\n".join(line.rstrip() for line in self.cells)

    def resize(self, rows, columns):
        self.rows, self.columns = rows, columns
        self.cells = (self.cells + [""] * rows)[:rows]
        self.row = min(self.row, rows - 1)

    def down(self):
        if self.row < self.rows - 1:
            self.row += 1
        else:
            self.cells = self.cells[1:] + [""]

    def put(self, char):
        if self.column >= self.columns:
            if not self.modes["wrap"]:
                self.column = self.columns - 1
            else:
                self.column = 0
                self.down()
        line = self.cells[self.row].ljust(self.column)
        self.cells[self.row] = line[:self.column] + char + \
            line[self.column + 1:]
        self.column += 1

    def sequence(self, parameters, final):
        if (parameters, final) == ("", "H"):
            self.row = self.column = 0
        elif (parameters, final) == ("", "K"):
            self.cells[self.row] = self.cells[self.row][:self.column]
        elif (parameters, final) == ("", "J"):
            self.cells[self.row] = self.cells[self.row][:self.column]
            for row in range(self.row + 1, self.rows):
                self.cells[row] = ""
        elif parameters == "?1049" and final in "hl":
            if self.modes["alternate"] != (final == "h"):
                if final == "h":
                    self.kept = self.cells, self.row, self.column
                    self.cells = [""] * self.rows
                else:
                    self.cells, self.row, self.column = self.kept
                    self.resize(self.rows, self.columns)
            self.modes["alternate"] = final == "h"
        elif parameters == "?25" and final in "hl":
            self.modes["cursor"] = final == "h"
        elif parameters == "?7" and final in "hl":
            self.modes["wrap"] = final == "h"
        elif parameters == "?2004" and final in "hl":
            pass  # bash asks for it
        else:
            raise Failed("not a sequence for each terminal: " +
                         parameters + final)

    def feed(self, text):
        text = self.left + text
        self.left = ""
        at = 0
        while at < len(text):
            char = text[at]
            if char == "\033":
                match = re.match(r"\033\[([?0-9;]*)([A-Za-z])", text[at:])
                if match:
                    self.sequence(*match.groups())
                    at += match.end()
                    continue
                if not re.fullmatch(r"\033(\[[?0-9;]*)?", text[at:]):
                    if text[at + 1] == "\033" or \
                            re.match(r"\033\[[?0-9;]*\033", text[at:]):
                        at = text.index("\033", at + 1)  # was cut short
                        continue
                    raise Failed("not a sequence: %r" % text[at:at + 9])
                self.left = text[at:]
                return
            if char == "\r":
                self.column = 0
            elif char == "\n":
                self.down()
            elif char == "\a":
                pass
            elif char < " ":
                raise Failed("a control character: %r" % char)
            else:
                self.put(char)
            at += 1


class Terminal:
    def __init__(self):
        self.pid = self.master = -1
        self.paused = False
        self.screen = Screen(1, 1)
        self.bytes = b""

    def set_size(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ,
                    struct.pack("HHHH", rows, columns, 0, 0))

    def start(self, rows, columns, command):
        self.screen = Screen(rows, columns)
        ready, go = os.pipe()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.close(go)
            os.read(ready, 1)
            os.close(ready)
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT,
                           signal.SIGXFSZ, signal.SIGHUP, signal.SIGTSTP):
                signal.signal(number, signal.SIG_DFL)
            os.environ.update(TERM="xterm", HISTFILE="", PS1="@> ")
            os.execvp("bash", ["bash", "-c", "echo before; exec " + command])
        os.close(ready)
        self.set_size(rows, columns)
        self.given = self.mode()
        os.close(go)

    def mode(self):
        return termios.tcgetattr(self.master)

    def read(self, seconds):
        if self.master < 0 or self.paused:
            time.sleep(seconds)
            return
        if not select.select([self.master], [], [], seconds)[0]:
            return
        try:
            self.bytes += os.read(self.master, 65536)
        except OSError:
            time.sleep(seconds)
            return
        try:
            text, self.bytes = self.bytes.decode(), b""
        except UnicodeDecodeError as error:
            text = self.bytes[:error.start].decode()
            self.bytes = self.bytes[error.start:]
            if len(self.bytes) > 4:
                raise Failed("not UTF-8")
        self.screen.feed(text)

    def wait(self, what, function):
        end = time.monotonic() + LIMIT_S
        while not function():
            if time.monotonic() > end:
                raise Failed("never: " + what)
            self.read(0.01)

    def holds(self, state):
        name = state.replace("no-", "")
        if name == "echo":
            now = bool(self.mode()[3] & termios.ECHO)
        else:
            now = self.screen.modes[name]
        return now == (name == state)

    def ended(self, code):
        status = []

        def has():
            pid, value = os.waitpid(self.pid, os.WNOHANG)
            status.append(value)
            return pid != 0

        self.wait("the end of the program", has)
        status = status[-1]
        got = os.WEXITSTATUS(status) if os.WIFEXITED(status) \
            else 128 + os.WTERMSIG(status)
        self.pid = -1
        if got != int(code):
            raise Failed("ended with %d, not %s" % (got, code))
        if self.master < 0 or self.paused:
            return
        for _ in range(20):
            self.read(0.01)
        for state in "no-alternate", "cursor", "wrap":
            if not self.holds(state):
                raise Failed("at its end it is not " + state)
        if self.screen.kept and not re.search("^before", self.screen.text(),
                                              re.M):
            raise Failed("what was on the screen is gone")
        if self.mode() != self.given:
            raise Failed("the terminal's mode is not as it was")

    def do(self, verb, rest):
        def size():
            return [int(word) for word in rest.split()[:2]]

        def shell():
            return subprocess.call(["bash", "-c", rest])

        if verb == "start":
            self.start(*size(), rest.split(None, 2)[2])
        elif verb in ("type", "keys"):
            text = re.sub(r"C-(.)",
                          lambda m: chr(ord(m.group(1).upper()) ^ 0x40), rest)
            os.write(self.master,
                     (text + ("\n" if verb == "type" else "")).encode())
        elif verb == "shows":
            self.wait(rest, lambda: re.search(rest, self.screen.text(), re.M))
        elif verb == "lacks":
            self.wait("without " + rest,
                      lambda: not re.search(rest, self.screen.text(), re.M))
        elif verb == "row":
            number, pattern = rest.split(None, 1)
            self.wait(rest, lambda: re.search(
                pattern, self.screen.cells[int(number) - 1]))
        elif verb == "is":
            self.wait(rest, lambda: all(map(self.holds, rest.split())))
        elif verb == "resize":
            self.set_size(*size())
            self.screen.resize(*size())
        elif verb == "signal":
            os.kill(self.pid, getattr(signal, "SIG" + rest))
        elif verb == "pause":
            self.paused = True
        elif verb == "hangup":
            os.close(self.master)
            self.master = -1
        elif verb == "poll":
            self.wait("success of " + rest, lambda: shell() == 0)
        elif verb == "check":
            if shell():
                raise Failed("failed: " + rest)
        elif verb == "ended":
            self.ended(rest)
        else:
            raise Failed("what is " + verb)


terminal = Terminal()
try:
    for text in sys.stdin:
        verb, _, rest = text.strip().partition(" ")
        if verb:
            terminal.do(verb, rest)
except Failed as failure:
    print("%s\non the screen:\n%s" % (failure, terminal.screen.text()))
    if terminal.pid > 0:
        subprocess.call(["pkill", "-KILL", "-s", str(terminal.pid)])
    sys.exit(1)
