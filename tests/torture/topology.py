"""Lock services: which servers there are on which hosts, and how to reach them."""

import os
import shutil
import signal
import subprocess

import resp
from hosts import wait_until

PORT = 6379
SENTINEL_PORT = 26379


class Server:
    """One that can be frozen, killed, and started again with or without its data."""

    def __init__(self, chamber, host, kind, lines=()):
        self.chamber = chamber
        self.host = host
        self.kind = kind  # redis, sentinel or etcd
        self.name = host if kind != "sentinel" else host + "-sentinel"
        self.folder = os.path.join(chamber.folder, self.name)
        self.socket = os.path.join(chamber.folder, self.name + ".sock")
        self.lines = list(lines)
        self.process = None
        self.is_frozen = False
        self.is_taken = False  # by a nemesis that is about to kill it
        self._write_config()

    def _write_config(self):
        os.makedirs(self.folder, exist_ok=True)
        port = SENTINEL_PORT if self.kind == "sentinel" else PORT
        with open(self.folder + ".conf", "w", encoding="ascii") as file:
            print(f"port {port}", "bind 0.0.0.0", "protected-mode no",
                  f"unixsocket {self.socket}", f"dir {self.folder}",
                  f"logfile {self.folder}.log", *self.lines, sep="\n", file=file)

    def _argv(self):
        if self.kind == "sentinel":
            return ["redis-server", self.folder + ".conf", "--sentinel"]
        if self.kind == "redis":
            return ["redis-server", self.folder + ".conf"]
        here = self.chamber.net.address(self.host)
        return ["etcd", "--data-dir", self.folder, "--logger", "zap",
                "--listen-client-urls", f"http://{here}:2379",
                "--advertise-client-urls", f"http://{here}:2379",
                "--listen-peer-urls", f"http://{here}:2380",
                "--initial-advertise-peer-urls", f"http://{here}:2380",
                "--initial-cluster", f"default=http://{here}:2380"]

    def start(self):
        env = self.chamber.clock_env(self.host)
        with open(self.folder + ".out", "ab") as out:
            self.process = subprocess.Popen(
                self.chamber.net.command(self.host, self._argv()), env=env,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True)
        wait_until(self.is_up, f"the server {self.name}")

    def is_up(self):
        if self.kind == "etcd":
            here = self.chamber.net.address(self.host)
            return subprocess.run(
                self.chamber.net.command(self.host, [
                    "etcdctl", "--endpoints", f"http://{here}:2379",
                    "endpoint", "health"]),
                env=dict(os.environ, ETCDCTL_API="3"), check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
        try:
            return self.ask("ping", timeout=0.5) == "PONG"
        except (OSError, resp.RedisError):
            return False

    def ask(self, *words, timeout=5):
        return resp.ask(self.socket, *words, timeout=timeout)

    def signal(self, number):
        self.is_frozen = number == signal.SIGSTOP
        if self.process:
            self.process.send_signal(number)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.is_frozen = self.is_taken = False

    def forget(self):
        """Loses all data: of a server that is dead."""
        shutil.rmtree(self.folder)
        os.makedirs(self.folder)

    def keep(self):
        """A copy of the data as they are now, for put_back()."""
        shutil.rmtree(self.folder + ".kept", ignore_errors=True)
        shutil.copytree(self.folder, self.folder + ".kept",
                        ignore=shutil.ignore_patterns("temp-*"))

    def put_back(self):
        shutil.rmtree(self.folder)
        shutil.move(self.folder + ".kept", self.folder)

    def role(self):
        try:
            return self.ask("role", timeout=1)[0]
        except (OSError, resp.RedisError):
            return None


PERSISTENT = ("save ''", "appendonly yes", "appendfsync everysec",
              "auto-aof-rewrite-percentage 0")
TRANSIENT = ("save ''", "appendonly no", "repl-diskless-sync yes",
             "repl-diskless-sync-delay 0")


class Topology:
    """A lock service: `servers`, and what cflock is told in `urls`."""

    name = ""
    hosts = ()
    # Restarts of a server lose or keep its data, and nothing else changes.
    can_restart = True
    has_slots = True

    def __init__(self, chamber):
        self.chamber = chamber
        self.servers = []
        self.urls = []

    def stores(self):
        return [s for s in self.servers if s.kind == "redis"]

    def sentinels(self):
        return [s for s in self.servers if s.kind == "sentinel"]

    def masters(self):
        return [s for s in self.stores() if s.role() == "master"]

    def start(self):
        for server in self.servers:
            server.start()
        wait_until(self.is_settled, f"the {self.name} topology", 60)

    def is_settled(self):
        return all(server.is_up() for server in self.servers)

    def heal(self):
        """All servers run, and are one service again."""
        for server in self.servers:
            if server.process is None:
                server.start()
            elif server.is_frozen:
                server.signal(signal.SIGCONT)
        wait_until(self.is_settled, f"the {self.name} topology to heal", 60)

    def redis_url(self, host):
        return f"redis://{self.chamber.net.address(host)}:{PORT}"


class Single(Topology):
    name = "single"
    hosts = ("s1",)

    def __init__(self, chamber):
        super().__init__(chamber)
        self.servers = [Server(chamber, h, "redis", PERSISTENT) for h in self.hosts]
        self.urls = [self.redis_url(h) for h in self.hosts]


class Quorum3(Single):
    name = "quorum3"
    hosts = ("s1", "s2", "s3")
    has_slots = False


class Quorum5(Quorum3):
    name = "quorum5"
    hosts = ("s1", "s2", "s3", "s4", "s5")


class Sentinel(Topology):
    """A master and a replica, and three sentinels."""

    name = "sentinel"
    hosts = ("s1", "s2", "s3")
    can_restart = False

    def __init__(self, chamber):
        super().__init__(chamber)
        first = chamber.net.address("s1")
        self.servers = [
            Server(chamber, "s1", "redis", TRANSIENT),
            Server(chamber, "s2", "redis", (*TRANSIENT, f"replicaof {first} {PORT}"))]
        self.servers += [Server(chamber, h, "sentinel", (
            f"sentinel monitor jobs {first} {PORT} 2",
            "sentinel down-after-milliseconds jobs 1000",
            "sentinel failover-timeout jobs 3000")) for h in self.hosts]
        at = ",".join(f"{chamber.net.address(h)}:{SENTINEL_PORT}" for h in self.hosts)
        self.urls = [f"redis+sentinel://{at}/jobs"]

    def master(self):
        """The one that most sentinels name, or None."""
        votes = []
        for sentinel in self.sentinels():
            try:
                votes.append(sentinel.ask("sentinel", "get-master-addr-by-name",
                                          "jobs", timeout=1)[0])
            except (OSError, resp.RedisError, TypeError):
                pass
        for server in self.stores():
            if votes.count(self.chamber.net.address(server.host)) >= 2:
                return server
        return None

    def is_settled(self):
        master = self.master()
        if not super().is_settled() or not master:
            return False
        try:
            # The parent of the other one, and known as such to all.
            role = master.ask("role")
            if role[0] != "master" or len(role[2]) != 1:
                return False
            for sentinel in self.sentinels():
                told = sentinel.ask("sentinel", "master", "jobs")
                told = dict(zip(told[::2], told[1::2]))
                if (told["flags"] != "master" or told["num-slaves"] != "1"
                        or told["num-other-sentinels"] != "2"
                        or told["ip"] != self.chamber.net.address(master.host)):
                    return False
        except (OSError, resp.RedisError):
            return False
        return True

    def fail_over(self):
        """Asks for it; False when none was begun."""
        for sentinel in self.sentinels():
            try:
                return sentinel.ask("sentinel", "failover", "jobs", timeout=1) == "OK"
            except (OSError, resp.RedisError):
                continue
        return False


class Cluster(Topology):
    """Three masters, and a replica of each."""

    name = "cluster"
    hosts = ("s1", "s2", "s3", "s4", "s5", "s6")
    can_restart = False

    def __init__(self, chamber):
        super().__init__(chamber)
        self.servers = [Server(chamber, h, "redis", (
            *TRANSIENT, "cluster-enabled yes", "cluster-node-timeout 2000",
            "cluster-require-full-coverage no",
            f"cluster-config-file {os.path.join(chamber.folder, h)}.nodes"))
            for h in self.hosts]
        at = ",".join(f"{chamber.net.address(h)}:{PORT}" for h in self.hosts)
        self.urls = [f"redis+cluster://{at}"]
        self._is_made = False

    def start(self):
        for server in self.servers:
            server.start()
        at = [f"{self.chamber.net.address(h)}:{PORT}" for h in self.hosts]
        subprocess.run(self.chamber.net.command("s1", [
            "redis-cli", "--cluster", "create", *at, "--cluster-replicas", "1",
            "--cluster-yes"]), check=True, stdout=subprocess.DEVNULL)
        wait_until(self.is_settled, "the cluster", 60)

    def is_settled(self):
        if not super().is_settled():
            return False
        views = set()
        for server in self.servers:
            if "cluster_state:ok" not in server.ask("cluster", "info"):
                return False
            nodes = [line.split() for line in server.ask("cluster", "nodes").splitlines()]
            if any("fail" in n[2] or n[7] != "connected" for n in nodes):
                return False
            views.add(tuple(sorted((n[0], n[2].replace("myself,", ""), *n[8:])
                                   for n in nodes)))
            facts = resp.info(server.socket, "replication")
            if facts["role"] == "slave" and facts["master_link_status"] != "up":
                return False
        return len(views) == 1 and len(self.masters()) == 3

    def replica_of(self, master):
        """The server that follows that one, or None."""
        address = self.chamber.net.address(master.host)
        for server in self.stores():
            try:
                role = server.ask("role", timeout=1)
            except (OSError, resp.RedisError):
                continue
            if role[0] == "slave" and role[1] == address:
                return server
        return None


class Etcd(Topology):
    name = "etcd"
    hosts = ("s1",)

    def __init__(self, chamber):
        super().__init__(chamber)
        self.servers = [Server(chamber, "s1", "etcd")]
        self.urls = [f"http://{chamber.net.address('s1')}:2379"]


TOPOLOGIES = {t.name: t for t in (Single, Sentinel, Cluster, Quorum3, Quorum5, Etcd)}
