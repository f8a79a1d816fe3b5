"""A sentinel that says what it is told: sentinel.py PORTFILE ANSWERFILE [PASSWORD]

It writes its port to PORTFILE.  In ANSWERFILE stand the host and the port that
it names, or "nil", or nothing: then it does not answer.
"""
import os
import socket
import sys
import threading


def read_command(stream):
    header = stream.readline()
    if not header:
        return None
    words = []
    for _ in range(int(header[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length + 2)[:-2].decode())
    return words


def serve(connection, answers, password):
    stream = connection.makefile("rb")
    is_known = not password
    while words := read_command(stream):
        if words[0] == "AUTH":
            is_known = words[-1] == password
            reply = "+OK\r\n" if is_known else "-WRONGPASS no\r\n"
        elif not is_known:
            reply = "-NOAUTH Authentication required.\r\n"
        else:
            with open(answers, encoding="ascii") as file:
                said = file.read().split()
            if said == ["nil"]:
                reply = "*-1\r\n"
            else:
                reply = f"*{len(said)}\r\n" if said else ""
                reply += "".join(f"${len(s)}\r\n{s}\r\n" for s in said)
        connection.sendall(reply.encode())


server = socket.create_server(("127.0.0.1", 0))
with open(sys.argv[1] + ".new", "w", encoding="ascii") as file:
    print(server.getsockname()[1], file=file)
os.rename(sys.argv[1] + ".new", sys.argv[1])
while True:
    connection, _ = server.accept()
    threading.Thread(
        target=serve,
        args=(connection, sys.argv[2], "".join(sys.argv[3:])),
        daemon=True,
    ).start()
