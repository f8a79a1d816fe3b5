#!/usr/bin/env python3
"""redispy.py HOST PORT TTL_MS NAME COMMAND...: redis-py's Lock around a command, with
a thread that renews it, for the torture chamber to find fault with."""

import subprocess
import sys
import threading

import redis


def main():
    host, port, ttl_ms, name, *command = sys.argv[1:]
    ttl_s = int(ttl_ms) / 1000
    client = redis.Redis(host, int(port), socket_timeout=1)
    lock = client.lock("lock:" + name, timeout=ttl_s, sleep=0.05,
                       thread_local=False)
    while True:
        try:
            lock.acquire()
            break
        except redis.RedisError:
            pass
    ended = threading.Event()

    def renew():
        while not ended.wait(ttl_s / 3):
            try:
                lock.reacquire()
            except redis.RedisError:
                pass

    threading.Thread(target=renew, daemon=True).start()
    code = subprocess.run(command, check=False).returncode
    ended.set()
    try:
        lock.release()
    except redis.RedisError:
        pass
    sys.exit(code)


if __name__ == "__main__":
    main()
