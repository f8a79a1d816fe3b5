#!/usr/bin/env python3
"""A terminal that nobody reads.

unread_terminal.py COMMAND...: runs it with stderr on such a terminal, which has
little room left but is not full, and exits with its code.
"""
import os
import pty
import select
import subprocess
import sys

master, slave = pty.openpty()
os.set_blocking(slave, False)
try:
    while True:
        os.write(slave, b'x' * 64 + b'\n')
except BlockingIOError:
    pass
# Writable again, but not for a line.
poll = select.poll()
poll.register(slave, select.POLLOUT)
while not poll.poll(0):
    os.read(master, 64)
os.set_blocking(slave, True)
sys.exit(subprocess.call(sys.argv[1:], stderr=slave))
