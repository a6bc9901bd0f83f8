"""Tables and plots of what was measured."""

import statistics

SENSES = {"<": "≤", ">": "≥"}


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def pairs(rounds, mine, other, key, other_key=None):
    """The median, over rounds, of one target's figure against another's in the same round."""
    ratios = [a[key] / b[other_key or key] for a, b in zip(rounds[mine], rounds[other]) if b.get(other_key or key)]
    return median(ratios)


def rows(scenario, rounds):
    found = []
    for target, seen in rounds.items():
        row = {"target": target}
        for key in sorted(set().union(*seen)):
            row[key] = sum(r.get(key, 0) for r in seen) if key == "bad" else median([r.get(key) for r in seen])
        if scenario.ratio and scenario.reference in rounds:
            row["ratio"] = pairs(rounds, target, scenario.reference, scenario.ratio)
        found.append(row)
    return sorted(found, key=lambda row: row["cpu"]) if scenario.ratio and all("@" not in t for t in rounds) else found


def goals(scenario, rounds):
    found = []
    for goal in scenario.goals:
        titles = {key: title for key, title, _ in scenario.columns}
        what = f"{goal.mine}: {titles.get(goal.key, goal.key)}"
        seen = None
        if goal.mine in rounds and (goal.other or goal.mine) in rounds:
            if goal.other:
                seen = pairs(rounds, goal.mine, goal.other, goal.key, goal.other_key)
            else:
                seen = median([r.get(goal.key) for r in rounds[goal.mine]])
        if goal.other:
            against = titles.get(goal.other_key, goal.other_key) if goal.other == goal.mine else goal.other
            aim = f"{SENSES[goal.sense]} {goal.limit:.2f} × {against}"
        else:
            aim = f"{SENSES[goal.sense]} {goal.limit:,}"
        met = None if seen is None else seen <= goal.limit if goal.sense == "<" else seen >= goal.limit
        found.append({"what": what, "aim": aim, "measured": seen, "met": met})
    return found


def show(result, scenario):
    reference = scenario.reference if any("ratio" in row for row in result["rows"]) else None
    print(f"\n## {scenario.name}: {scenario.about}\n\n{result['rounds']} rounds of {result['seconds']} s, medians\n")
    titles = ["target"] + [title for _, title, _ in scenario.columns] + ([f"× {reference}"] if reference else [])
    print("| " + " | ".join(titles) + " |\n|" + "---|" * len(titles))
    for row in result["rows"]:
        cells = [row["target"]]
        cells += ["–" if row.get(key) is None else shape.format(row[key]) for key, _, shape in scenario.columns]
        cells += [f"{row['ratio']:.2f}" if row.get("ratio") is not None else "–"] if reference else []
        print("| " + " | ".join(cells) + " |")
    if result["goals"]:
        print("\n| target of the project | aim | measured | met |\n|---|---|---|---|")
        for goal in result["goals"]:
            measured = "–" if goal["measured"] is None else f"{goal['measured']:,.2f}"
            print(f"| {goal['what']} | {goal['aim']} | {measured} | "
                  + {True: "yes", False: "**no**", None: "not measured"}[goal["met"]] + " |")
    print(flush=True)


# ---- plots ----

LIGHT = "text{font:13px system-ui,sans-serif;fill:#222}.head{font-weight:600}.own{fill:#d9480f}.peer{fill:#868e96}" \
        ".line{fill:none;stroke:#d9480f;stroke-width:2}.axis{stroke:#adb5bd}"
DARK = "text{font:13px system-ui,sans-serif;fill:#ddd}.head{font-weight:600}.own{fill:#ff922b}.peer{fill:#868e96}" \
       ".line{fill:none;stroke:#ff922b;stroke-width:2}.axis{stroke:#495057}"


def write_svg(path, width, height, lines):
    """FILE.svg goes by the reader's own preference; FILE-light.svg and FILE-dark.svg do not."""
    stem = path.removesuffix(".svg")
    both = LIGHT + "@media(prefers-color-scheme:dark){" + DARK + "}"
    for name, style in [(stem, both), (stem + "-light", LIGHT), (stem + "-dark", DARK)]:
        with open(name + ".svg", "w") as file:
            file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                       f'viewBox="0 0 {width} {height}"><style>{style}</style>\n' + "\n".join(lines) + "\n</svg>\n")


def bars(results, path):
    """CPU per request of each target, a block for each scenario."""
    width, bar, label = 760, 26, 170
    lines, y = [], 10
    for result in results:
        if any(row.get("cpu") is None for row in result["rows"]) or not result["rows"]:
            continue
        top = max(row["cpu"] for row in result["rows"])
        lines.append(f'<text class="head" x="10" y="{y + 16}">{result["about"]}: CPU µs (less is better)</text>')
        y += 28
        for row in result["rows"]:
            length = (width - label - 130) * row["cpu"] / top
            kind = "own" if row["target"].startswith("gateway") else "peer"
            ratio = f" ({row['ratio']:.2f} ×)" if row.get("ratio") is not None else ""
            lines.append(f'<text x="{label - 8}" y="{y + 17}" text-anchor="end">{row["target"]}</text>')
            lines.append(f'<rect class="{kind}" x="{label}" y="{y + 3}" width="{length:.1f}" height="{bar - 6}" rx="3"/>')
            lines.append(f'<text x="{label + length + 8:.1f}" y="{y + 17}">{row["cpu"]:.1f}{ratio}</text>')
            y += bar
        y += 16
    write_svg(path, width, y, lines)


def growth(results, path):
    """How the gateway's CPU per request grows: one small plot for each scenario with points (`gateway@64`), and one of
    body sizes."""
    by_name = {result["scenario"]: result for result in results}
    series = []
    for result in results:
        points = [(int(row["target"].partition("@")[2]), row["cpu"]) for row in result["rows"]
                  if row["target"].startswith("gateway") and "@" in row["target"] and row.get("cpu") is not None]
        if len(points) > 1:
            series.append((result["scenario"], sorted(points)))
    bodies = [(size, row["cpu"]) for name, size in [("bare", 128), ("bare-16k", 16384), ("bare-1m", 1 << 20)]
              for row in by_name.get(name, {"rows": []})["rows"] if row["target"] == "gateway"]
    if len(bodies) > 1:
        series.append(("bytes of an answer", bodies))
    lines, width, high = [], 380, 190
    for index, (name, points) in enumerate(series):
        left, top = (index % 2) * width + 50, (index // 2) * (high + 50) + 30
        most = max(cpu for _, cpu in points) * 1.1
        lines.append(f'<text class="head" x="{left - 40}" y="{top - 10}">{name}: CPU µs per request</text>')
        lines.append(f'<path class="axis" fill="none" d="M{left} {top}v{high - 40}h{width - 80}"/>')
        places = []
        for n, (point, cpu) in enumerate(points):
            x, y = left + 20 + n * (width - 120) / (len(points) - 1), top + (high - 40) * (1 - cpu / most)
            places.append(f"{x:.0f},{y:.0f}")
            lines.append(f'<circle class="own" cx="{x:.0f}" cy="{y:.0f}" r="4"/>'
                         f'<text x="{x:.0f}" y="{y - 9:.0f}" text-anchor="middle">{cpu:.1f}</text>'
                         f'<text x="{x:.0f}" y="{top + high - 22}" text-anchor="middle">{point:,}</text>')
        lines.append(f'<polyline class="line" points="{" ".join(places)}"/>')
    write_svg(path, 2 * width, max(1, (len(series) + 1) // 2) * (high + 50) + 10, lines)
