"""Redis, as far as the chamber itself needs it: one request to a Unix socket."""

import socket


class RedisError(Exception):
    """What the server answers that begins with a minus."""


def _read(stream):
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise OSError("the server has closed the connection")
    mark, text = line[:1], line[1:-2].decode(errors="replace")
    if mark == b"-":
        return RedisError(text)
    if mark == b":":
        return int(text)
    if mark == b"+":
        return text
    if int(text) < 0:
        return None
    if mark == b"$":
        return stream.read(int(text) + 2)[:-2].decode(errors="replace")
    return [_read(stream) for _ in range(int(text))]


def ask(path, *words, timeout=5):
    """The answer; raises OSError, or RedisError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(path)
        request = [f"*{len(words)}\r\n".encode()]
        for word in words:
            data = str(word).encode()
            request.append(b"$%d\r\n%s\r\n" % (len(data), data))
        sock.sendall(b"".join(request))
        with sock.makefile("rb") as stream:
            answer = _read(stream)
    if isinstance(answer, RedisError):
        raise answer
    return answer


def info(path, section):
    """INFO, as a dict."""
    lines = ask(path, "info", section).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
