#!/usr/bin/env python3
"""Measures the gateway beside its peers on the same work; started by ./run, explained in README.md."""

import argparse
import json
import os
import re
import signal
import subprocess
import sys

import harness
import report
from harness import FIRST_PORT, Target, Unfit, warn
from scenarios import MAIN, SCENARIOS


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
        ("redis", ["redis-server", "--version"]), ("wrk", ["wrk", "-v"]), ("h2load", ["h2load", "--version"]),
    ]:
        yield f"{name}: {first_line(command)}"


def attempt(targets, action):
    """Does something to each target; whoever fails is left out from then on."""
    for name in list(targets):
        try:
            yield name, action(name)
        except Unfit as error:
            warn(f"{name}: {error}" if not str(error).startswith(name) else error)
            targets.remove(name)


def run_scenario(scenario, args):
    names = [t for t in scenario.targets if not args.targets or t.partition("@")[0] in args.targets]
    ports = {name: FIRST_PORT + offset for offset, name in enumerate(names)}
    seconds = args.seconds
    servers = scenario.prepare(args) + [harness.upstream(scenario.upstream)]
    running, rounds = {}, {name: [] for name in names}

    def start(name):
        running[name] = Target(name, ports[name], scenario)

    def stop(name):
        running.pop(name).stop()

    def fresh_round(name):
        start(name)
        try:
            seen = scenario.measure(running[name], args, seconds)
        finally:
            stop(name)
        if type(scenario).again is not base_again:
            start(name)
            try:
                seen.update(scenario.again(running[name], args, seconds))
            finally:
                stop(name)
        return seen

    base_again = SCENARIOS["bare"].__class__.again
    try:
        if not scenario.fresh:
            for _ in attempt(names, start):
                pass
            for _ in attempt(names, lambda name: scenario.measure(running[name], args, min(seconds, 1))):
                pass  # to warm up
        measure = fresh_round if scenario.fresh else lambda name: scenario.measure(running[name], args, seconds)
        for _ in range(args.rounds):
            for name, seen in attempt(names, measure):
                rounds[name].append(seen)
    finally:
        for name in list(running):
            stop(name)
        for server in servers:
            harness.stop(server)
    rounds = {name: rounds[name] for name in names if rounds[name]}
    result = {"scenario": scenario.name, "about": scenario.about, "rounds": args.rounds, "seconds": seconds,
              "reference": scenario.reference, "rows": report.rows(scenario, rounds), "goals": report.goals(scenario, rounds),
              "all": rounds}
    report.show(result, scenario)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), nargs="+", metavar="NAME", help="only these; see --list")
    parser.add_argument("--all", action="store_true", help=f"all scenarios; without it {' and '.join(MAIN)}")
    parser.add_argument("--list", action="store_true", help="what there is to measure")
    parser.add_argument("--targets", nargs="+", help="only these")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=2, help="of each round")
    parser.add_argument("--conns", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, to see that all works")
    parser.add_argument("--json", metavar="FILE", help="write the figures, those of each round too")
    parser.add_argument("--plot", metavar="FILE.svg", help=f"draw {' and '.join(MAIN)}, also as FILE-light.svg and FILE-dark.svg")
    parser.add_argument("--growth", metavar="FILE.svg", help="draw how cost grows, in the same three files")
    args = parser.parse_args()
    if args.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:14}{scenario.about}: {', '.join(scenario.targets)}")
        return
    if args.quick:
        args.rounds, args.seconds = 1, 1
    about = list(versions())
    print("\n".join(about), flush=True)
    if os.getloadavg()[0] > 0.7:
        warn(f"the machine is busy (load {os.getloadavg()[0]:.1f}): figures shake, ratios less so")
    harness.most_connections(0)
    results = []
    for name in args.scenario or (SCENARIOS if args.all else MAIN):
        try:
            results.append(run_scenario(SCENARIOS[name], args))
        except (Unfit, OSError, subprocess.CalledProcessError) as error:
            warn(f"{name} is left out: {error}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"about": about, "results": results}, file, indent=1)
    if args.plot:
        report.bars([r for r in results if r["scenario"] in MAIN] or results, args.plot)
    if args.growth:
        report.growth(results, args.growth)
    missed = [goal for result in results for goal in result["goals"] if goal["met"] is False]
    print(f"{sum(goal['met'] is True for r in results for goal in r['goals'])} targets met, {len(missed)} missed")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
try:
    main()
finally:
    harness.stop_all()
