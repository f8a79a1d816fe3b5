"""coverage.py JSON LIST: prints, from what `gcovr --json` has written, how many
lines and branches of each file were reached.  Exits with 1 when fewer than 90 %
of all lines were, or when a line or a branch of WHOLE was not that LIST does not
name, as "FILE: CODE"; its other lines say why."""

import json
import sys

WHOLE = (
    "src/guard.c",
    "src/guardian.c",
    "src/lease.c",
    "src/redis/judge.c",
    "src/redis/reply.c",
    "src/tree.c",
)
LEAST_PERCENT = 90


def percent(reached, total):
    return 100 * reached / total if total else 100


def show(name, counts):
    lines, lines_all, branches, branches_all = counts
    print(
        f"{name:28} {lines:5} of {lines_all:5} lines {percent(lines, lines_all):6.1f} %"
        f" {branches:5} of {branches_all:5} branches {percent(branches, branches_all):6.1f} %"
    )


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        files = json.load(file)["files"]
    with open(sys.argv[2], encoding="utf-8") as file:
        known = {line.rstrip("\n") for line in file if line.startswith("src/")}

    sums = [0, 0, 0, 0]
    missed = []
    for entry in sorted(files, key=lambda entry: entry["file"]):
        name = entry["file"]
        counts = [0, 0, 0, 0]
        with open(name, encoding="utf-8") as file:
            text = file.read().split("\n")
        for line in entry["lines"]:
            if line.get("gcovr/noncode"):
                continue
            branches = line["branches"]
            taken = sum(1 for branch in branches if branch["count"])
            counts[0] += line["count"] > 0
            counts[1] += 1
            counts[2] += taken
            counts[3] += len(branches)
            where = f"{name}: {text[line['line_number'] - 1].strip()}"
            if name in WHOLE and where not in known:
                if not line["count"]:
                    missed.append(f"{name}:{line['line_number']}: {where}")
                elif taken < len(branches):
                    missed.append(
                        f"{name}:{line['line_number']}: {where}  "
                        f"({taken} of {len(branches)} branches)"
                    )
        show(name, counts)
        sums = [a + b for a, b in zip(sums, counts)]
    show("all", sums)
    for line in missed:
        print("not reached:", line)
    return 1 if missed or percent(sums[0], sums[1]) < LEAST_PERCENT else 0


sys.exit(main())
