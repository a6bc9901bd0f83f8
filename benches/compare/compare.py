#!/usr/bin/env python3
"""Measures the gateway beside its peers on the same work; started by ./run, explained in README.md."""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time

HERE, WORK = os.environ["HERE"], os.environ["WORK"]
TICK = os.sysconf("SC_CLK_TCK")
PROXY_CPU, LOAD_CPU = "0", "1"
FIRST_PORT, UPSTREAM_PORT = 9200, 9100
SECRET = "benchmark-secret-0123456789abcdef"
SCENARIOS = {
    "bare": (["relay", "gateway", "nginx", "haproxy", "envoy", "traefik", "caddy"], False),
    "policy": (["relay", "gateway-policy", "nginx", "haproxy-policy", "envoy-policy-log"], True),
}
REFERENCE = "nginx"
SIZES = {"/api/128": 128, "/api/16k": 16 << 10, "/api/1m": 1 << 20}
children = []


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token():
    """A token for all targets, and the files in which they look for its key."""
    with open(os.path.join(WORK, "secret"), "w") as file:
        file.write(SECRET)
    with open(os.path.join(WORK, "jwks.json"), "w") as file:
        json.dump({"keys": [{"kty": "oct", "kid": "h", "alg": "HS256", "k": encode(SECRET.encode())}]}, file)
    claims = {"iss": "bench", "sub": "user-1234", "aud": "gateway", "exp": int(time.time()) + 864000}
    head = encode(json.dumps({"alg": "HS256", "typ": "JWT", "kid": "h"}).encode())
    text = head + "." + encode(json.dumps(claims).encode())
    return text + "." + encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest())


def spawn(command, cpu, log=subprocess.DEVNULL, env=None):
    child = subprocess.Popen(["taskset", "-c", cpu] + command, stdout=log, stderr=log, env=env)
    children.append(child)
    return child


def wait_for(port, child):
    deadline = time.time() + 20
    while time.time() < deadline:
        if child.poll() is not None:
            raise RuntimeError("it ended at once")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("it did not listen within 20 s")


def start(name, port, path, headers):
    """Starts a target and asks it once: whoever answers wrongly is not measured."""
    log_path = os.path.join(WORK, f"log-{name}.txt")
    script = f'set -e; . "$HERE/targets/lib.sh"; . "$HERE/targets/{name}.sh"'
    env = dict(os.environ, PORT=str(port), UP=str(UPSTREAM_PORT))
    try:
        with open(log_path, "w") as log:
            child = spawn(["bash", "-c", script], PROXY_CPU, log, env)
        wait_for(port, child)
        for attempt in range(40):  # some listen before their routes are there
            status, length = ask(port, path, headers)
            if (status, length) == (200, SIZES[path]):
                return child
            time.sleep(0.1)
        raise RuntimeError(f"it answered {status} with {length} bytes")
    except (RuntimeError, OSError) as error:
        with open(log_path, errors="replace") as log:
            tail = log.read()[-600:]
        print(f"!! {name} is left out: {error}\n{tail}", file=sys.stderr)
        return None


def ask(port, path, headers):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path, headers=dict(h.split(": ", 1) for h in headers))
        response = connection.getresponse()
        return response.status, len(response.read())
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


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return total / TICK


def microseconds(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def measure(child, port, args, headers, seconds):
    command = ["taskset", "-c", LOAD_CPU, "wrk", "-t1", f"-c{args.conns}", f"-d{seconds}s", "--latency"]
    command += sum([["-H", header] for header in headers], []) + [f"http://127.0.0.1:{port}{args.path}"]
    pids = family(child.pid)
    before = cpu_seconds(pids)
    out = subprocess.run(command, capture_output=True, text=True).stdout
    used = cpu_seconds(pids) - before
    count = int(re.search(r"(\d+) requests in", out)[1])
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    return {
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": microseconds(re.search(r"(?m)^\s+50%\s+(\S+)", out)[1]),
        "p99": microseconds(re.search(r"(?m)^\s+99%\s+(\S+)", out)[1]),
        "cpu": used * 1e6 / max(count, 1),
        "bad": (int(bad[1]) if bad else 0) + (sum(map(int, broken.groups())) if broken else 0),
    }


def run_scenario(name, args):
    targets, with_token = SCENARIOS[name]
    targets = [t for t in targets if not args.targets or t in args.targets]
    headers = ["Host: bench.local"] + ([f"Authorization: Bearer {token()}"] if with_token else [])
    running = {}
    for offset, target in enumerate(targets):
        port = FIRST_PORT + offset
        child = start(target, port, args.path, headers)
        if child:
            running[target] = (child, port)
    for child, port in running.values():
        measure(child, port, args, headers, 1)
    rounds = {target: [] for target in running}
    for _ in range(args.rounds):
        for target, (child, port) in running.items():
            rounds[target].append(measure(child, port, args, headers, args.seconds))
    for child, _ in running.values():
        child.terminate()
    for child, _ in running.values():
        child.wait()
    reference = REFERENCE if REFERENCE in rounds else next(iter(rounds))
    rows = []
    for target, seen in rounds.items():
        pairs = [mine["cpu"] / other["cpu"] for mine, other in zip(seen, rounds[reference])]
        row = {key: statistics.median(r[key] for r in seen) for key in ("rps", "p50", "p99", "cpu")}
        row.update(target=target, ratio=statistics.median(pairs), bad=sum(r["bad"] for r in seen))
        rows.append(row)
    rows.sort(key=lambda row: row["cpu"])
    print(f"\n## {name}: {args.path}, {args.conns} connections, {args.rounds} rounds of {args.seconds} s, medians\n")
    print(f"| target | requests/s | p50 µs | p99 µs | CPU µs/request | × {reference} | failed |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['target']} | {r['rps']:,.0f} | {r['p50']:,.0f} | {r['p99']:,.0f} | {r['cpu']:.1f} "
              f"| {r['ratio']:.2f} | {r['bad']} |", flush=True)
    return {"scenario": name, "reference": reference, "rows": rows}


def versions():
    def first_line(command):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
            return next(line for line in (done.stdout + done.stderr).splitlines() if line.strip()).strip()
        except (OSError, StopIteration):
            return "not found"
    with open("/proc/cpuinfo") as info:
        model = re.search(r"model name\s*: (.*)", info.read())
    yield f"machine: {os.cpu_count()} cores, {model[1] if model else 'unknown CPU'}, {os.uname().sysname} {os.uname().release}"
    yield "gateway: " + first_line([os.environ["GATEWAY_BIN"], "--version"])
    for name, command in [
        ("nginx", ["nginx", "-v"]), ("haproxy", ["haproxy", "-v"]), ("envoy", [os.environ["ENVOY_BIN"], "--version"]),
        ("traefik", [os.environ["TRAEFIK_BIN"], "version"]), ("caddy", [os.environ["CADDY_BIN"], "version"]),
        ("wrk", ["wrk", "-v"]),
    ]:
        yield f"{name}: {first_line(command)}"


def plot(results, path):
    """Bars of CPU per request, readable on light and dark grounds."""
    width, bar, label = 760, 26, 170
    lines, y = [], 10
    for result in results:
        top = max(row["cpu"] for row in result["rows"])
        lines.append(f'<text class="head" x="10" y="{y + 16}">{result["scenario"]}: CPU µs per request (less is better)</text>')
        y += 28
        for row in result["rows"]:
            length = (width - label - 130) * row["cpu"] / top
            kind = "own" if row["target"].startswith("gateway") else "peer"
            lines.append(f'<text x="{label - 8}" y="{y + 17}" text-anchor="end">{row["target"]}</text>')
            lines.append(f'<rect class="{kind}" x="{label}" y="{y + 3}" width="{length:.1f}" height="{bar - 6}" rx="3"/>')
            lines.append(f'<text x="{label + length + 8:.1f}" y="{y + 17}">{row["cpu"]:.1f} ({row["ratio"]:.2f} ×)</text>')
            y += bar
        y += 16
    style = (
        "text{font:13px system-ui,sans-serif;fill:#222}.head{font-weight:600}.own{fill:#d9480f}.peer{fill:#868e96}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.own{fill:#ff922b}.peer{fill:#868e96}}"
    )
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}">'
                   f"<style>{style}</style>\n" + "\n".join(lines) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), help="only this one; by default all")
    parser.add_argument("--targets", nargs="*", help="only these")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--conns", type=int, default=64)
    parser.add_argument("--path", choices=sorted(SIZES), default="/api/128", help="how large the answers are")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 1 s, to see that all works")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--plot", metavar="FILE", help="draw them (SVG)")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 3, 1
    token()
    wait_for(UPSTREAM_PORT, spawn([os.path.join(WORK, "bin", "backend"), str(UPSTREAM_PORT)], LOAD_CPU))
    about = list(versions())
    print("\n".join(about), flush=True)
    results = [run_scenario(name, args) for name in ([args.scenario] if args.scenario else SCENARIOS)]
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"about": about, "results": results}, file, indent=1)
    if args.plot:
        plot(results, args.plot)


try:
    main()
finally:
    for process in reversed(children):
        if process.poll() is None:
            process.terminate()
    for process in children:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
