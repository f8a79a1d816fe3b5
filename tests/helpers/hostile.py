"""Servers that answer as no Redis does:

    hostile.py DIR REDIS_SOCKET

Each mode below listens on the Unix socket DIR/MODE, and on the port of 127.0.0.1
that stands in DIR/MODE.port; DIR/ready is written when all do.  "then-MODE" is
the server of REDIS_SOCKET, until the first script has been answered; from then
on, also on new connections, it is the one of that mode.

DIR/MODE.count holds how many requests have come to it.
"""
import os
import random
import socket
import struct
import sys
import threading
import time

DIR, REDIS_SOCKET = sys.argv[1:]
GRANT = b"*2\r\n:1\r\n$16\r\n1764264000000000\r\n"
STEER = b"\x1b]0;gotcha\x07\x1b[2J\xc2\x9b31m\xe2\x80\xae\xff\r\n\t"


def bulk(text):
    return b"$%d\r\n%s\r\n" % (len(text), text)


def array(*items):
    return b"*%d\r\n" % len(items) + b"".join(items)


def refusal(number):
    """What acquire.lua says when the lock is held, with all that is too much."""
    texts = [STEER * 40, STEER, b"1" * 300, STEER, b"c" * 3000, STEER, b"-" + b"9" * 40]
    return array(b":0\r\n", bulk(b"held"), *[b":%d\r\n" % number] * 6, bulk(b"a/1"),
                 *[bulk(text) for text in texts], bulk(b"9" * 40))


def long_list(turn):
    return bulk(b"%d\n" % (turn % 97 + 1) + b"lock\n\n" + STEER + b"\n")


def read_word(stream):
    return stream.read(int(stream.readline()[1:]) + 2)[:-2]


def read_request(stream):
    """None at the end."""
    header = stream.readline()
    return [read_word(stream) for _ in range(int(header[1:]))] if header else None


class Mode:
    """The replies go out as they come; None: close; a number: wait so long."""

    def __init__(self, name, replies, asked=True):
        self.name, self.replies, self.asked = name, replies, asked
        self.count = 0
        self.mutex = threading.Lock()
        self.turned = not name.startswith("then-")

    def count_up(self):
        with self.mutex:
            self.count += 1
            with open(f"{DIR}/{self.name}.count", "w", encoding="ascii") as file:
                print(self.count, file=file)
            return self.count - 1

    def send(self, client, turn, request):
        for reply in self.replies(turn, request):
            if reply is None:
                client.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(reply, bytes):
                client.sendall(reply)
            else:
                time.sleep(reply)

    def relay(self, client, stream):
        """Until it turns."""
        server = socket.socket(socket.AF_UNIX)
        server.connect(REDIS_SOCKET)
        while not self.turned:
            request = read_request(stream)
            if not request:
                return
            if self.turned:
                self.send(client, self.count_up(), request)
                return
            server.sendall(array(*map(bulk, request)))
            client.sendall(server.recv(65536))
            self.turned = request[0].startswith(b"EVAL")

    def serve(self, client):
        stream = client.makefile("rb")
        try:
            if not self.turned:
                self.relay(client, stream)
            if not self.asked:
                self.send(client, self.count_up(), [])
            while request := read_request(stream):
                self.send(client, self.count_up(), request)
        except (OSError, ValueError):
            pass
        if self.replies is reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Not while the reader still has it.
            stream.close()
        client.close()

    def listen(self, listener):
        while True:
            client, _ = listener.accept()
            if client.family == socket.AF_INET:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def start(self):
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(f"{DIR}/{self.name}")
        tcp = socket.create_server(("127.0.0.1", 0))
        self.port = tcp.getsockname()[1]
        with open(f"{DIR}/{self.name}.port", "w", encoding="ascii") as file:
            print(self.port, file=file)
        for listener in unix, tcp:
            listener.listen(64)
            threading.Thread(target=self.listen, args=(listener,), daemon=True).start()


def always(*replies):
    return lambda turn, request: replies


def noise(turn, _):
    """Also such as begins well."""
    chance = random.Random(turn)
    yield chance.choice([b"", b"*2\r\n:1\r\n$", b"$9000\r\n", b"*"]) + chance.randbytes(4096)


def stream_of(first, piece):
    def replies(turn, request):
        yield first
        while True:
            yield piece
    return replies


def drip(turn, request):
    for byte in GRANT:
        yield bytes([byte])
        yield 1


def cut(turn, request):
    """Each number of bytes in turn."""
    yield GRANT[:turn % len(GRANT)]
    yield None


def reset(turn, request):
    yield None


def moved(word, *targets):
    """To each in turn: a mode, or what stands there for host and port."""
    def replies(turn, request):
        if request and request[0] == b"CLUSTER":
            yield bulk(b"x 127.0.0.1:1@2 myself,master - 0 0 1 connected 0-16383\n" * 300)
            return
        target = targets[turn % len(targets)]
        if target in MODES:
            target = f"127.0.0.1:{MODES[target].port}"
        if isinstance(target, str):
            target = target.encode()
        yield b"-%s 1 %s\r\n" % (word, target)
    return replies


def named(*masters, known=(array(bulk(b"config-epoch"), bulk(b"0")),)):
    """A sentinel that names them in turn; None: itself.  What it knows of them comes
    in a second answer each time."""
    def replies(turn, request):
        if request[0] != b"SENTINEL":
            yield b"-ERR unknown command\r\n"
            return
        if request[1] == b"MASTER":
            yield known[turn // 2 % len(known)]
            return
        host, port = masters[turn // 2 % len(masters)] or (b"127.0.0.1", b"%d" % MODES["names-itself"].port)
        yield array(bulk(host), bulk(port))
    return replies


# What no Redis says.
BAD = {
    "noise": noise,
    "huge-bulk": always(b"$999999999999\r\nabc"),
    "huge-array": always(b"*2147483647\r\n"),
    "huger-array": always(b"*9223372036854775807\r\n"),
    "negative": always(b"*-2147483648\r\n"),
    "nested": always(b"*1\r\n" * 15000),
    "nested-wide": always(b"*60\r\n" * 12000),
    "endless-bulk": stream_of(b"$2000000000\r\n", b"x" * 65536),
    "endless-line": stream_of(b"+", b"x" * 65536),
    "endless-error": stream_of(b"-ERR ", b"x" * 65536),
    "endless-array": stream_of(b"*60\r\n", b"*60\r\n" + b":1\r\n" * 50 + b"$100\r\n" + b"x" * 98),
    "endless-replies": stream_of(b"", b":1\r\n" * 1000),
    "drip": drip,
    "silent": always(),
    "reset": reset,
    "cut": cut,
    "unasked": always(b":1\r\n", GRANT),
    "too-many": always(b"+OK\r\n" * 3 + GRANT),
    "pushed": always(b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n" + GRANT),
    "subscribed": always(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n" + GRANT),
    "map": always(b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:2\r\n"),
    "set": always(b"~2\r\n:1\r\n$16\r\n1764264000000000\r\n"),
    "double": always(b",1.5e999\r\n"),
    "bool": always(b"#t\r\n"),
    "big-number": always(b"(" + b"9" * 3000 + b"\r\n"),
    "verbatim": always(b"=10\r\ntxt:1 2 3\x1b\r\n"),
    "attribute": always(b"|1\r\n$1\r\na\r\n:1\r\n" + GRANT),
    "streamed": always(b"*?\r\n:1\r\n.\r\n"),
    "nul": always(b"$5\r\n\0\0a\0\0\r\n"),
    "nul-error": always(b"-\0ERR\r\n"),
    "steering": always(b"-ERR " + STEER[:-3] + b"\r\n"),
    "steering-code": always(b"-\x1b[2JERR\r\n"),
    "steering-grant": always(array(b":1\r\n", bulk(STEER))),
    "huge-token": always(array(b":1\r\n", bulk(b"9" * 19))),
    "other-grant": always(array(b":2\r\n", bulk(b"1764264000000000"))),
    "greeting": (always(b"220 mail.example.org ESMTP\r\n")),
}

# What only a cluster, or a sentinel, says.
OTHER = {
    "held": lambda turn, request: [refusal((-(2**63), 2**63 - 1, 0)[turn % 3])],
    "woken": lambda turn, request: [array() if request[0] == b"XREAD" else refusal(0)],
    "grants-all": always(GRANT),
    "long-list": lambda turn, request: [long_list(turn)],
    "wants-high": lambda turn, request: [array(
        b":0\r\n", bulk(b"token"), *[b":1\r\n"] * 6, bulk(b"%d" % (2**53 - 3)))],
    "moved-to-itself": moved(b"MOVED", "moved-to-itself"),
    "moved-in-circles": moved(b"MOVED", "moved-back", "moved-to-itself"),
    "moved-back": moved(b"MOVED", "moved-in-circles"),
    "asked-in-circles": moved(b"ASK", "moved-in-circles", "asked-in-circles"),
    "moved-nowhere": moved(b"MOVED", "127.0.0.1:1", "256.256.256.256:7", "nowhere.invalid:1",
                           ":99999", "?:1", "[::1:7", "-h:1", "", "a" * 5000 + ":1"),
    "moved-steering": moved(b"MOVED", b"\x1b[2J\xc2\x9b31m\xe2\x80\xae\xff:7000"),
    "names-itself": named(None),
    "names-nonsense": named((STEER, b"6379"), (b"", b"6379"), (b"127.0.0.1", b"0"),
                            (b"127.0.0.1", b"99999999999999999999"), (b"a" * 5000, b"1"),
                            (b"127.0.0.1", b""), (b"127.0.0.1\0", b"1"), (b"-h", b"1")),
    "knows-nonsense": named((b"127.0.0.1", b"1"), known=[
        *(array(bulk(b"config-epoch"), bulk(epoch)) for epoch in
          (b"", b"-1", b"1.5", b"0x10", STEER, b"9" * 16, b"9" * 5000, b"1\0")),
        array(bulk(b"config-epoch")), array(bulk(b"config-epoch"), b":1\r\n"), array(),
        array(b":1\r\n", b":1\r\n"), b"*-1\r\n", b"$-1\r\n", b"+OK\r\n", bulk(b"config-epoch"),
        array(array(bulk(b"config-epoch"), bulk(b"1"))), b"-NOPERM no\r\n"]),
}

MODES = {}


def main():
    for name, replies in (BAD | OTHER).items():
        MODES[name] = Mode(name, replies, asked=name != "greeting")
        if name in BAD:
            MODES["then-" + name] = Mode("then-" + name, replies)
    for mode in MODES.values():
        mode.start()
    with open(f"{DIR}/ready", "w", encoding="ascii") as file:
        print(*BAD, file=file)
    threading.Event().wait()


main()
