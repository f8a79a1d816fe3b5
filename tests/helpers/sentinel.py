"""A sentinel that says what it is told:

    sentinel.py PORTFILE ANSWERFILE [PASSWORD [CERT KEY]]

It writes its port to PORTFILE.  In ANSWERFILE stand the host and the port that
it names, and, if not 0, the config epoch; or "nil", or nothing: then it does not
answer.  With CERT and KEY it speaks TLS, and writes the name that each client asks
for to ANSWERFILE.names.
"""
import os
import socket
import ssl
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


def array(*texts):
    return f"*{len(texts)}\r\n" + "".join(f"${len(t)}\r\n{t}\r\n" for t in texts)


def serve(connection, answers, password, context):
    if context:
        connection = context.wrap_socket(connection, server_side=True)
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
            elif not said:
                reply = ""
            elif words[1] == "MASTER":
                reply = array("config-epoch", *(said[2:] or "0"))
            else:
                reply = array(*said[:2])
        connection.sendall(reply.encode())


def make_context(cert, key, names):
    def note(_, name, __):
        with open(names, "a", encoding="ascii") as file:
            print(name, file=file)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.sni_callback = note
    return context


# A client that does not like the certificate.
threading.excepthook = lambda _: None
port_file, answer_file = sys.argv[1:3]
password = "".join(sys.argv[3:4])
context = None
if len(sys.argv) > 5:
    context = make_context(sys.argv[4], sys.argv[5], answer_file + ".names")
server = socket.create_server(("127.0.0.1", 0))
with open(port_file + ".new", "w", encoding="ascii") as file:
    print(server.getsockname()[1], file=file)
os.rename(port_file + ".new", port_file)
while True:
    connection, _ = server.accept()
    threading.Thread(
        target=serve,
        args=(connection, answer_file, password, context),
        daemon=True,
    ).start()
