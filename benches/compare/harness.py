"""Processes, what they cost, and the load on them."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import resource
import socket
import subprocess
import sys
import time

HERE, WORK = os.environ["HERE"], os.environ["WORK"]
TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
PROXY_CPU, LOAD_CPU = "0", "1"
FIRST_PORT, UPSTREAM_PORT, REDIS_PORT = 9200, 9100, 9190
SECRET = "benchmark-secret-0123456789abcdef"
HOST = "Host: bench.local"
SIZES = {"/api/128": 128, "/api/1k": 1 << 10, "/api/16k": 16 << 10, "/api/1m": 1 << 20}
# What the upstream of limited capacity does: so many at once, so many µs each.
SLOW_AT_ONCE, SLOW_TAKES = 20, 10_000
CAPACITY = SLOW_AT_ONCE * 1_000_000 // SLOW_TAKES
children = []


class Unfit(Exception):
    """A target that cannot be measured, and why."""


def tool(name):
    return os.path.join(WORK, "bin", name)


# ---- tokens ----

def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write(name, text):
    with open(os.path.join(WORK, name), "w") as file:
        file.write(text)


def openssl(*args, **options):
    return subprocess.run(["openssl", *args], check=True, capture_output=True, **options).stdout


def token(algorithm):
    """A token for all targets, and the files in which they look for its key."""
    secret, public = os.path.join(WORK, "rs256.pem"), os.path.join(WORK, "rs256.pub.pem")
    if not os.path.exists(public):
        openssl("genrsa", "-out", secret, "2048")
        openssl("rsa", "-in", secret, "-pubout", "-out", public)
    modulus = openssl("rsa", "-in", secret, "-noout", "-modulus").decode().strip().split("=")[1]
    write("secret", SECRET)
    write("jwks.json", json.dumps({"keys": [
        {"kty": "oct", "kid": "HS256", "alg": "HS256", "k": encode(SECRET.encode())},
        {"kty": "RSA", "kid": "RS256", "alg": "RS256", "n": encode(bytes.fromhex(modulus)), "e": "AQAB"},
    ]}))
    claims = {"iss": "bench", "sub": "user-1234", "aud": "gateway", "exp": int(time.time()) + 864000}
    head = encode(json.dumps({"alg": algorithm, "typ": "JWT", "kid": algorithm}).encode())
    text = head + "." + encode(json.dumps(claims).encode())
    if algorithm == "RS256":
        signature = openssl("dgst", "-sha256", "-sign", secret, input=text.encode())
    else:
        signature = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    return text + "." + encode(signature)


# ---- processes ----

def spawn(command, cpu, log=subprocess.DEVNULL, env=None, **options):
    command = command if cpu is None else ["taskset", "-c", cpu] + command
    child = subprocess.Popen(command, stdout=options.pop("stdout", log), stderr=log, env=env, **options)
    children.append(child)
    return child


def stop(child):
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(15)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child in children:
        children.remove(child)


def stop_all():
    for child in reversed(list(children)):
        stop(child)


def wait_for(port, child, pause=0.05):
    deadline = time.time() + 20
    while time.time() < deadline:
        if child.poll() is not None:
            raise Unfit("it ended at once")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(pause)
    raise Unfit("it did not listen within 20 s")


def must_be_free(port):
    """Otherwise somebody else would be measured."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return
    raise Unfit(f"something already listens on port {port}")


def upstream(kind):
    """What the targets stand before."""
    port = str(UPSTREAM_PORT)
    must_be_free(UPSTREAM_PORT)
    if kind == "grpc":
        write("message.grpc", "\0\0\0\0\x80" + "m" * 128)
        env = dict(os.environ, UP=port)
        subprocess.run(["bash", "-c", '. "$HERE/targets/lib.sh"; render grpc-upstream.conf.in > "$WORK/grpc-upstream.conf"'],
                       check=True, env=env)
        os.chmod(os.path.join(WORK, "message.grpc"), 0o644)
        command = ["nginx", "-c", os.path.join(WORK, "grpc-upstream.conf"), "-e", os.path.join(WORK, "nginx-error.log")]
    else:
        command = {
            "backend": [tool("backend"), port],
            "everywhere": [tool("backend"), port, "0.0.0.0"],
            "streams": [tool("streams"), port, "100"],
            "slow": [tool("slow"), port, str(SLOW_AT_ONCE), str(SLOW_TAKES)],
        }[kind]
    with open(os.path.join(WORK, "log-upstream.txt"), "w") as log:
        child = spawn(command, LOAD_CPU, log)
    wait_for(UPSTREAM_PORT, child)
    return child


def redis():
    must_be_free(REDIS_PORT)
    child = spawn(["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
                  LOAD_CPU)
    wait_for(REDIS_PORT, child)
    return child


class Target:
    """A running proxy. Of `gateway-routes@10`, `gateway-routes` is the script and 10 its `POINT`."""

    def __init__(self, name, port, scenario):
        must_be_free(port)
        self.name, self.port = name, port
        name, _, self.point = name.partition("@")
        self.log = os.path.join(WORK, f"log-{name}.txt")
        script = f'set -e; . "$HERE/targets/lib.sh"; . "$HERE/targets/{name}.sh"'
        env = dict(os.environ, PORT=str(port), UP=str(UPSTREAM_PORT), REDIS_PORT=str(REDIS_PORT), POINT=self.point)
        with open(self.log, "w") as log:
            self.child = spawn(["bash", "-c", script], scenario.cpu, log, env)
        try:
            wait_for(port, self.child, 0.002)
            deadline = time.monotonic() + 5  # some listen before their routes are there
            while True:
                said = scenario.wrong(self)
                if not said:
                    break
                if time.monotonic() > deadline:
                    raise Unfit(said)
                time.sleep(0.005)
        except Unfit as error:
            with open(self.log, errors="replace") as log:
                tail = log.read()[-600:]
            self.stop()
            raise Unfit(f"{self.name} is left out: {error}\n{tail}") from None
        answered = time.time()
        with open(os.path.join(WORK, f"started-{port}")) as file:
            self.start_ms = (answered - float(file.read().replace(",", "."))) * 1e3

    def stop(self):
        stop(self.child)

    def cpu_seconds(self):
        return sum(usage(pid) for pid in family(self.child.pid))

    def memory_mib(self):
        """Proportional set size: shared pages count once."""
        total = 0
        for pid in family(self.child.pid):
            try:
                with open(f"/proc/{pid}/smaps_rollup") as file:
                    total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:"))
            except OSError:
                continue
        return total / 1024

    def per_thread(self):
        """CPU seconds of each thread that works."""
        seconds = {}
        for pid in family(self.child.pid):
            for thread in os.listdir(f"/proc/{pid}/task"):
                seconds[thread] = usage(f"{pid}/task/{thread}")
        return seconds


def ask(port, path, headers, method="GET", body=None):
    """The status and the length of an answer over HTTP/1.1."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, body, headers=dict(h.split(": ", 1) for h in headers))
        response = connection.getresponse()
        found = response.status, len(response.read())
        connection.close()
        return found
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, 0


def family(pid):
    """A process and all below it."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat") as stat:
                parents.setdefault(int(stat.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
        except OSError:
            continue
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += parents.get(found[-1], [])
    return found


def usage(process):
    try:
        with open(f"/proc/{process}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    except OSError:
        return 0


# ---- load ----

def microseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def with_headers(headers):
    return sum([["-H", header] for header in headers], [])


def run_load(command, cpu=LOAD_CPU):
    command = (["taskset", "-c", cpu] if cpu else []) + command
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unfit(f"{command[3] if cpu else command[0]}: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


def wrk(port, path, headers, conns, seconds, script=None, args=(), cpu=LOAD_CPU):
    command = ["wrk", "-t1", f"-c{conns}", f"-d{seconds}s", "--latency", *with_headers(headers)]
    command += (["-s", os.path.join(HERE, "lua", script)] if script else []) + [f"http://127.0.0.1:{port}{path}"]
    out = run_load(command + (["--", *args] if args else []), cpu)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    return {
        "count": int(re.search(r"(\d+) requests in", out)[1]),
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": microseconds(re.search(r"(?m)^\s+50%\s+(\S+)", out)[1]),
        "p99": microseconds(re.search(r"(?m)^\s+99%\s+(\S+)", out)[1]),
        "bad": (int(bad[1]) if bad else 0) + (sum(map(int, broken.groups())) if broken else 0),
    }


def h2load(port, path, headers, seconds, conns=8, streams=16, body=None):
    """As wrk, over HTTP/2. It tells no percentiles: `mean` and `max` instead."""
    command = ["h2load", "-t1", f"-c{conns}", f"-m{streams}", f"-D{seconds}", "--warm-up-time=0", *with_headers(headers)]
    out = run_load(command + (["-d", body] if body else []) + [f"http://127.0.0.1:{port}{path}"])
    count, failed = int(re.search(r"(\d+) succeeded", out)[1]), int(re.search(r"(\d+) failed", out)[1])
    times = re.search(r"time for request:\s+(\S+)\s+(\S+)\s+(\S+)", out)
    return {"count": count, "rps": count / seconds, "mean": microseconds(times[3]) if times else 0,
            "max": microseconds(times[2]) if times else 0, "bad": failed}


class Load:
    """tools/load.c: set up when this is made, begins with `go`, keeps its connections until `end`."""

    def __init__(self, *args):
        self.child = spawn([tool("load"), *map(str, args)], LOAD_CPU, stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                           log=None, text=True)
        if self.child.stdout.readline().strip() != "ready":
            self.end()
            raise Unfit(f"load {args[0]} could not be set up")

    def begin(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def result(self):
        line = self.child.stdout.readline()
        if not line:
            raise Unfit("load broke off")
        return json.loads(line)

    def end(self):
        self.child.stdin.close()
        stop(self.child)


def warn(text):
    print(f"!! {text}", file=sys.stderr, flush=True)


def most_connections(wanted):
    """How many of these fit: a proxy may need two descriptors for each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, (hard - 1000) // 2)
