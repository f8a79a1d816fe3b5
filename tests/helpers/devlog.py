#!/usr/bin/env python3
"""A syslog daemon's socket.

devlog.py PATH read FILE  writes each datagram to FILE, a line each
devlog.py PATH full FILE  fills it up, and never reads it

FILE is there as soon as the socket is ready.
"""
import os
import socket
import sys

path, how, output = sys.argv[1:]
log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
log.bind(path)
if how == 'full':
    full = 0
    while full < 2:  # twice in a row, by senders that have sent nothing before
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sent = 0
        try:
            while True:
                sender.sendto(b'<13>x', socket.MSG_DONTWAIT, path)
                sent += 1
        except BlockingIOError:
            full = 0 if sent else full + 1
with open(output, 'wb', buffering=0) as stream:
    os.fsync(stream.fileno())
    while how == 'full':
        socket.socketpair()[0].recv(1)
    while True:
        stream.write(log.recv(65536).replace(b'\n', b'<newline>') + b'\n')
