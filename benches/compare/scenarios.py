"""What is measured: who takes part, what is done to them, what is shown, and what is aimed at."""

import os
import threading
import time
from dataclasses import dataclass

from harness import (CAPACITY, CORES, HOST, LOAD_CPU, PROXY_CPU, SIZES, WORK, Load, ask, h2load, most_connections, redis,
                     token, tool, wrk, write)

NUMBER, WHOLE, TENTH = "{:,.2f}", "{:,.0f}", "{:,.1f}"
RPS, P50, P99 = ("rps", "requests/s", WHOLE), ("p50", "p50 µs", WHOLE), ("p99", "p99 µs", WHOLE)
CPU, BAD = ("cpu", "CPU µs/request", TENTH), ("bad", "failed", WHOLE)


@dataclass
class Goal:
    """`mine` over `other` in the same round, or `mine` alone, at most (`<`) or at least (`>`) `limit`."""
    mine: str
    key: str
    limit: float
    other: str = None
    sense: str = "<"
    other_key: str = None
    text: str = None


class Scenario:
    """Load over kept-alive HTTP/1.1 connections; others change what they need."""
    path, headers, reference, upstream, cpu = "/api/128", (HOST,), "nginx", "backend", PROXY_CPU
    columns, ratio = (RPS, P50, P99, CPU, BAD), "cpu"
    script, script_args, conns = None, (), None
    fresh = False  # whether each round starts its targets anew

    def __init__(self, name, about, targets, goals=(), **changes):
        self.name, self.about, self.targets, self.goals = name, about, targets, goals
        for key, value in changes.items():
            assert hasattr(self, key), key
            setattr(self, key, value)

    def prepare(self, args):
        """Files and servers that the targets need; returns the servers."""
        return []

    def wrong(self, target):
        """What is wrong with a target's answer."""
        found = ask(target.port, self.path, self.headers)
        return found != (200, SIZES[self.path]) and "it answered {} with {} bytes".format(*found)

    def load(self, target, args, seconds):
        return wrk(target.port, self.path, self.headers, self.conns or args.conns, seconds, self.script, self.script_args)

    def again(self, target, args, seconds):
        """What is measured of a second, fresh process."""
        return {}

    def measure(self, target, args, seconds):
        before = target.cpu_seconds()
        seen = self.load(target, args, seconds)
        seen["cpu"] = (target.cpu_seconds() - before) * 1e6 / max(seen["count"], 1)
        return seen


class WithToken(Scenario):
    algorithm = "HS256"

    def prepare(self, args):
        self.headers = (HOST, "Authorization: Bearer " + token(self.algorithm))
        return []


class Http2(Scenario):
    headers = (":authority: bench.local",)
    columns = (RPS, ("mean", "mean µs", WHOLE), ("max", "max µs", WHOLE), CPU, BAD)

    def wrong(self, target):
        """h2load itself, for python's client speaks no HTTP/2."""
        seen = h2load(target.port, self.path, self.headers, 1, 1, 1)
        return (not seen["count"] or seen["bad"]) and "it failed h2load"

    def load(self, target, args, seconds):
        return h2load(target.port, self.path, self.headers, seconds)


class Grpc(Http2):
    path, upstream = "/api/bench.Echo/Unary", "grpc"
    headers = (":authority: bench.local", "content-type: application/grpc", "te: trailers")

    def prepare(self, args):
        write("request.grpc", "\0\0\0\0\x40" + "q" * 64)
        return []

    def load(self, target, args, seconds):
        return h2load(target.port, self.path, self.headers, seconds, body=os.path.join(WORK, "request.grpc"))


class Post(Scenario):
    script = "post-16k.lua"

    def wrong(self, target):
        found = ask(target.port, self.path, self.headers, "POST", b"x" * 16384)
        return found != (200, SIZES[self.path]) and "it answered {} with {} bytes".format(*found)


class Streams(Scenario):
    kind, many, upstream = "sse", 1000, "streams"

    def wrong(self, target):
        return False  # the load looks at each answer's head

    def measure(self, target, args, seconds):
        load = Load(self.kind, target.port, "/api/stream", self.many, seconds)
        try:
            before = target.cpu_seconds()
            load.begin()
            seen = load.result()
            seen["cpu"] = (target.cpu_seconds() - before) * 1e6 / max(seen["count"], 1)
            seen["rps"] = seen["count"] / seen["seconds"]
            seen["memory"] = target.memory_mib()
        finally:
            load.end()
        return seen


class Routes(Scenario):
    script, reference = "routes.lua", "gateway-routes@10"

    def prepare(self, args):
        for count in (10, 1000, 10000):
            write(f"routes-{count}.toml", "".join(
                f'[[routes]]\npath = "/api/service-{n}/*"\nservice = "bench"\nstrip = "/api/service-{n}"\n' for n in range(count)))
        return []

    def load(self, target, args, seconds):
        return wrk(target.port, self.path, self.headers, args.conns, seconds, self.script, [target.point])


class Endpoints(Scenario):
    upstream, reference = "everywhere", "gateway-endpoints@2"

    def prepare(self, args):
        for count in (2, 1000):
            hosts = (f'"http://127.0.{n // 250}.{n % 250 + 1}:9100"' for n in range(count))
            write(f"endpoints-{count}", "[" + ", ".join(hosts) + "]")
        return []


class Connections(Scenario):
    """One target under more and more connections."""

    def load(self, target, args, seconds):
        return wrk(target.port, self.path, self.headers, int(target.point), seconds)


class Workers(Scenario):
    """With four cores: two for the workers, the others for the load, and requests/s tell. With fewer the load has no
    core of its own; then the CPU of a request tells, of which two workers must not use more than one does."""
    reference, cpu, conns = "gateway-workers@1", None if CORES < 4 else "0,1", 8
    columns = (RPS, P99, CPU, ("capacity", "requests/s the cores are good for", WHOLE), ("even", "least/most busy worker", NUMBER), BAD)

    def load(self, target, args, seconds):
        cpu = f"2-{CORES - 1}" if CORES >= 4 else LOAD_CPU
        return wrk(target.port, self.path, self.headers, self.conns, seconds, cpu=cpu)

    def measure(self, target, args, seconds):
        threads = target.per_thread()
        seen = super().measure(target, args, seconds)
        workers = int(target.point)
        busy = sorted(after - threads.get(thread, 0) for thread, after in target.per_thread().items())[-workers:]
        seen["even"] = busy[0] / max(busy[-1], 1e-9)
        seen["capacity"] = seen["rps"] if CORES >= 4 else workers * 1e6 / max(seen["cpu"], 1e-9)
        return seen


class Limits(Scenario):
    reference = "gateway"

    def prepare(self, args):
        return [redis()]


class Memory(Scenario):
    fresh, ratio, columns = True, None, (
        ("idle", "idle, MiB", TENTH), ("open", "idle connections", WHOLE), ("each", "KiB per idle connection", TENTH),
        ("busy", "1,000 busy connections, MiB", TENTH))

    def measure(self, target, args, seconds):
        time.sleep(0.5)
        count, idle = most_connections(10_000), target.memory_mib()
        load = Load("idle", target.port, self.path, count, 0)
        time.sleep(0.5)
        each = (target.memory_mib() - idle) * 1024 / count
        load.end()
        return {"idle": idle, "open": count, "each": each}

    def again(self, target, args, seconds):
        """The busy ones, in a process of their own."""
        thread = threading.Thread(target=wrk, args=(target.port, self.path, self.headers, 1000, seconds + 1))
        thread.start()
        time.sleep(seconds)
        busy = target.memory_mib()
        thread.join()
        return {"busy": busy}


class Start(Routes):
    fresh, ratio, columns = True, None, (
        ("start", "first answer after, ms", TENTH), ("used", "CPU until then, ms", WHOLE))

    def wrong(self, target):
        found = ask(target.port, "/api/service-7/128", self.headers)
        return found != (200, 128) and "it answered {} with {} bytes".format(*found)

    def measure(self, target, args, seconds):
        return {"start": target.start_ms, "used": target.cpu_seconds() * 1e3}


class Overload(Scenario):
    """Requests come at a fixed rate, to an upstream that does `CAPACITY` a second."""
    upstream, fresh, ratio, reference = "slow", True, None, "gateway"
    columns = (("peak", "good/s at most", WHOLE), ("good", "good/s at 2 × capacity", WHOLE), ("p50", "p50 µs", WHOLE),
               ("p99", "p99 µs", WHOLE), ("shed", "refused", WHOLE), ("late", "after 1 s", WHOLE), BAD)

    def at(self, target, rate, seconds):
        load = Load("open", target.port, self.path, rate, seconds)
        try:
            load.begin()
            return load.result()
        finally:
            load.end()

    def measure(self, target, args, seconds):
        seconds = max(seconds, 2)
        self.at(target, CAPACITY * 0.9, 2 * seconds)  # until an adaptive limit has found its place
        peak = max(self.at(target, CAPACITY * share, seconds)["good"] for share in (0.9, 1.0))
        seen = self.at(target, CAPACITY * 2, 2 * seconds)
        return dict(seen, peak=peak)


ALL = ["relay", "gateway", "nginx", "haproxy", "envoy", "traefik", "caddy"]
BODIES = ["relay", "gateway", "nginx", "haproxy", "envoy"]

SCENARIOS = {scenario.name: scenario for scenario in [
    Scenario("bare", "proxying only, 128 bytes", ALL, [
        Goal("gateway", "cpu", 1.25, "relay"), Goal("gateway", "cpu", 0.88, "nginx"), Goal("gateway", "cpu", 0.80, "haproxy"),
        Goal("gateway", "p99", 1.0, "nginx"), Goal("gateway", "p99", 1.0, "haproxy")]),
    WithToken("policy", "the whole policy stack, 128 bytes",
              ["relay", "gateway-policy", "nginx", "haproxy-policy", "envoy-policy-log"], [
        Goal("gateway-policy", "cpu", 0.95, "nginx"), Goal("gateway-policy", "cpu", 0.60, "haproxy-policy"),
        Goal("gateway-policy", "cpu", 0.20, "envoy-policy-log")]),
    WithToken("jwt-rs256", "the same, an RS256 token verified each time",
              ["gateway-rs256", "gateway-rs256-cached", "haproxy-rs256", "envoy-policy-log"],
              [Goal("gateway-rs256", "cpu", 0.75, "haproxy-rs256")], reference="haproxy-rs256", algorithm="RS256"),
    Scenario("bare-16k", "proxying only, answers of 16 KiB", BODIES, [
        Goal("gateway", "cpu", 1.15, "relay"), Goal("gateway", "cpu", 0.80, "nginx")], path="/api/16k"),
    Scenario("bare-1m", "proxying only, answers of 1 MiB", BODIES, [
        Goal("gateway", "cpu", 1.15, "relay"), Goal("gateway", "cpu", 0.65, "nginx")], path="/api/1m"),
    Post("post-16k", "16 KiB up and down", BODIES, [Goal("gateway", "cpu", 1.0, "nginx")], path="/api/16k"),
    Http2("h2", "HTTP/2 clients (8 connections × 16 streams), HTTP/1.1 upstream",
          ["gateway", "nginx-h2", "haproxy-h2", "envoy", "caddy"], [
        Goal("gateway", "cpu", 0.50, "nginx-h2"), Goal("gateway", "cpu", 0.85, "haproxy-h2"),
        Goal("gateway", "cpu", 0.20, "envoy")], reference="nginx-h2"),
    Grpc("grpc", "gRPC unary, HTTP/2 on both sides (8 connections × 16 streams)",
         ["gateway-grpc", "envoy-grpc", "nginx-grpc", "haproxy-grpc"],
         [Goal("gateway-grpc", "rps", 1.5, "envoy-grpc", ">")], reference="envoy-grpc"),
    Streams("sse", "1,000 event streams, 10 events a second each", ["relay", "gateway", "nginx-stream", "haproxy", "envoy"],
            [Goal("gateway", "cpu", 1.0, "nginx-stream"), Goal("gateway", "memory", 1.0, "nginx-stream")],
            reference="nginx-stream",
            columns=(("rps", "events/s", WHOLE), ("cpu", "CPU µs/event", TENTH), ("memory", "memory, MiB", TENTH), BAD)),
    Streams("websocket", "WebSocket echo of 100 bytes, 64 connections", ["relay", "gateway", "nginx-stream", "haproxy"],
            [Goal("gateway", "cpu", 1.0, "nginx-stream"), Goal("gateway", "p99", 1.0, "nginx-stream")],
            reference="nginx-stream", kind="ws", many=64,
            columns=(("rps", "messages/s", WHOLE), P50, P99, ("cpu", "CPU µs/message", TENTH), BAD)),
    Routes("routes", "10, 1,000 and 10,000 routes", [f"gateway-routes@{n}" for n in (10, 1000, 10000)],
           [Goal("gateway-routes@10000", "cpu", 1.03, "gateway-routes@10")]),
    Endpoints("endpoints", "2 and 1,000 endpoints", [f"{name}-endpoints@{n}" for n in (2, 1000) for name in ("gateway", "nginx")],
              [Goal("gateway-endpoints@1000", "cpu", 1.03, "gateway-endpoints@2")]),
    Connections("connections", "8 to 4,096 connections", [f"{name}@{n}" for n in (8, 64, 512, 4096) for name in ("gateway", "nginx")],
                reference="nginx@64"),
    Workers("workers", "one and two workers, 8 connections", ["gateway-workers@1", "gateway-workers@2"],
            [Goal("gateway-workers@2", "capacity", 1.9, "gateway-workers@1", ">")]),
    Scenario("cache", "1 KiB from the cache and proxied", ["gateway-cache", "gateway", "nginx"],
             [Goal("gateway-cache", "rps", 2.5, "gateway", ">")], path="/api/1k", reference="gateway"),
    Http2("cache-h2", "the same with HTTP/2 clients (8 connections × 16 streams)", ["gateway-cache", "gateway", "nginx-h2"],
          [Goal("gateway-cache", "rps", 2.5, "gateway", ">")], path="/api/1k", reference="gateway"),
    Limits("redis-limits", "a limit shared over Redis", ["gateway", "gateway-limit-local", "gateway-limit-leased", "gateway-limit-exact"],
           [Goal("gateway-limit-leased", "rps", 0.95, "gateway-limit-local", ">"),
            Goal("gateway-limit-leased", "cpu", 1.05, "gateway-limit-local")]),
    Memory("memory", "memory (proportional set size)", ["gateway", "nginx", "haproxy", "envoy"], [
        Goal("gateway", "idle", 12), Goal("gateway", "each", 6), Goal("gateway", "busy", 25)]),
    Start("start", "from start to first answer", ["gateway-routes@10", "gateway-routes@10000"],
          [Goal("gateway-routes@10000", "start", 300)], reference="gateway-routes@10"),
    Overload("overload", f"{2 * CAPACITY:,} requests/s to an upstream that does {CAPACITY:,}",
             ["gateway", "gateway-adaptive", "gateway-concurrency"], [
        Goal("gateway-adaptive", "good", 0.95, "gateway-adaptive", ">", other_key="peak"),
        Goal("gateway-concurrency", "good", 0.95, "gateway-concurrency", ">", other_key="peak"),
        Goal("gateway-adaptive", "p99", 100_000), Goal("gateway-concurrency", "p99", 100_000)]),
]}
MAIN = ["bare", "policy"]
