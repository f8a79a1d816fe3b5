"""A TCP proxy in front of a real redis-server that can damage its replies.

    proxy.py SOCKET PORT_FILE DAMAGE_FILE TURNS_FILE

Relays 127.0.0.1:PORT (a free one, written to PORT_FILE) to the Unix socket
SOCKET.  DAMAGE_FILE, which may be replaced at any time, holds four lines: a
serial number; N; "only" or "on"; MODE=ARG.  From its replacement on, replies
to new connections are counted from 1.  The Nth (and those that follow, unless
"only") is damaged:

    replace=TEXT    TEXT goes out instead; \\r, \\n and \\0 in it are understood
    truncate=BYTES  so many of its bytes go out, then the connection is closed
    stall=BYTES     so many of its bytes go out, then nothing any more
    delay=SECONDS   it goes out later

TURNS_FILE gets a line for each round trip: bytes from the client that follow
the connecting or a reply.
"""

import os
import socket
import sys
import threading
import time

MORE = None


def reply_end(data, start=0):
    """The index behind the reply that begins at start, MORE if incomplete."""
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return MORE
    kind, rest, end = data[start:start + 1], data[start + 1:line_end], line_end + 2
    if kind == b"$" and int(rest) >= 0:
        end += int(rest) + 2
        return end if len(data) >= end else MORE
    if kind == b"*":
        for _ in range(int(rest)):
            end = reply_end(data, end)
            if end is MORE:
                return MORE
    return end


class Proxy:
    def __init__(self, server_path, damage_path, turns_path):
        self.server_path = server_path
        self.damage_path = damage_path
        self.turns_path = turns_path
        self.mutex = threading.Lock()
        self.serial = None
        self.replies = 0

    def read_damage(self):
        """serial, N, only, "MODE=ARG"; "" where there is no damage."""
        try:
            with open(self.damage_path, newline="") as file:
                serial, first, only, damage = file.read().split("\n")[:4]
        except FileNotFoundError:
            return "", 1, False, ""
        return serial, int(first), only == "only", damage

    def damage_to_next(self, serial_of_connection):
        """How the reply that has come is to be damaged; "" for not at all."""
        serial, first, only, damage = self.read_damage()
        if serial != serial_of_connection:
            return ""
        with self.mutex:
            if serial != self.serial:
                self.serial, self.replies = serial, 0
            self.replies += 1
            hit = self.replies == first if only else self.replies >= first
        return damage if hit else ""

    def serve(self, client):
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.server_path)
        state = {"turn": True}
        serial = self.read_damage()[0]
        threading.Thread(target=self.relay_requests, args=(client, server, state),
                         daemon=True).start()
        try:
            self.relay_replies(client, server, state, serial)
        except OSError:
            pass
        for end in (client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def relay_requests(self, client, server, state):
        try:
            while data := client.recv(65536):
                if state["turn"]:
                    with self.mutex, open(self.turns_path, "a") as log:
                        log.write("turn\n")
                state["turn"] = False
                server.sendall(data)
            server.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def relay_replies(self, client, server, state, serial):
        pending = b""
        stalled = False
        while data := server.recv(65536):
            pending += data
            while (end := reply_end(pending)) is not MORE:
                reply, pending = pending[:end], pending[end:]
                state["turn"] = True
                if stalled:
                    continue
                mode, _, argument = self.damage_to_next(serial).partition("=")
                if not mode:
                    client.sendall(reply)
                elif mode == "replace":
                    client.sendall(argument.encode().decode("unicode_escape").encode("latin-1"))
                elif mode == "truncate":
                    client.sendall(reply[:int(argument)])
                    return
                elif mode == "stall":
                    client.sendall(reply[:int(argument)])
                    stalled = True
                elif mode == "delay":
                    time.sleep(float(argument))
                    client.sendall(reply)
                else:
                    sys.exit("no such mode: " + mode)


def main():
    server_path, port_path, damage_path, turns_path = sys.argv[1:]
    proxy = Proxy(server_path, damage_path, turns_path)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    with open(port_path + ".new", "w") as file:
        file.write(str(listener.getsockname()[1]))
    os.rename(port_path + ".new", port_path)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=proxy.serve, args=(client,), daemon=True).start()


main()
