#!/usr/bin/env python3
"""report.py FOLDER: makes report.md, a table, and report.svg, a plot, of the numbers
in report.tsv, which report.sh writes.

A line of them is, with tabs in between, one of

    about    TEXT                         of the machine
    section  TITLE                        what follows belongs to it
    note     TEXT                         how it was measured
    group    HEADING UNIT                 what follows are values of it
    value    NAME MEDIAN LOW HIGH COUNT   a tenth of COUNT is below LOW, above HIGH
    without  NAME                         could not be run

In the plot, a group is a panel: a dot for the median, a line from LOW to HIGH.  Its
axis is logarithmic, as those who are compared differ by orders of magnitude.
"""

import math
import os
import sys
import textwrap
from xml.sax.saxutils import escape

TEXT_WIDTH = 88
PANEL_WIDTH = 430
PANELS_ABREAST = 3
LABEL = 110
NUMBER = 62
ROW = 19
HEAD = 40
COLOURS = {"cflock": "#c0392b", "flock": "#2c3e50"}
OTHERS = "#5d8aa8"


class Group:
    """A measure, and what it came to for each who was compared."""

    def __init__(self, heading, unit):
        self.heading, self.unit = heading, unit
        self.values, self.without = {}, []

    def title(self):
        """Its heading, and its unit."""
        return self.heading + (f", {self.unit}" if self.unit else "")

    def ratio(self, name, to):
        """How many times the median of `to` that of name is, as text."""
        if to not in self.values or not self.values[to][0]:
            return ""
        return text_of(self.values[name][0] / self.values[to][0])


class Section:
    """What belongs together: under one title, measured in one way."""

    def __init__(self, title):
        self.title, self.notes, self.groups = title, [], []


def read(path):
    """Returns what is said of the machine, and the sections."""
    about, sections = [], []
    with open(path, encoding="utf-8") as file:
        for line in file:
            kind, *fields = line.rstrip("\n").split("\t")
            if kind == "about":
                about.append(" ".join(fields))
            elif kind == "section":
                sections.append(Section(" ".join(fields)))
            elif kind == "note":
                sections[-1].notes.append(" ".join(fields))
            elif kind == "group":
                sections[-1].groups.append(Group(*fields))
            elif kind == "value":
                sections[-1].groups[-1].values[fields[0]] = [
                    float(field) for field in fields[1:]]
            elif kind == "without":
                sections[-1].groups[-1].without.append(fields[0])
    return about, sections


def text_of(number):
    """Three digits, and no exponent."""
    if number >= 1000:
        return f"{float(f'{number:.3g}'):,.0f}"
    return f"{number:.3g}"


def _table(rows):
    """The lines of a table; of the rows, the first is its head."""
    columns = range(len(rows[0]))
    widths = [max(len(row[i]) for row in rows) for i in columns]
    rows = [[row[i].rjust(widths[i]) if i else row[i].ljust(widths[i])
             for i in columns] for row in rows]
    rows.insert(1, ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return ["| " + " | ".join(row) + " |" for row in rows]


def _medians(groups):
    """A row for each group, a column for each who was compared."""
    names = list(dict.fromkeys(name for group in groups for name in group.values))
    rows = [["medians", *names]]
    for group in groups:
        rows.append([group.title(), *(
            text_of(group.values[name][0]) if name in group.values
            else "not run" if name in group.without else "" for name in names)])
    return rows


def _details(groups):
    rows = [["", "median", "10 % to 90 %", "x flock", "x cflock"]]
    for group in groups:
        rows.append([f"**{group.title()}**", "", "", "", ""])
        for name, (median, low, high, count) in group.values.items():
            spread = f"{text_of(low)} to {text_of(high)}" if count > 1 else ""
            rows.append([name, text_of(median), spread, group.ratio(name, "flock"),
                         group.ratio(name, "cflock")])
        rows += [[name, "not run", "", "", ""] for name in group.without]
    return rows


def table(about, sections):
    """The report as Markdown."""
    lines = ["# cflock beside its peers", ""]
    lines += [f"- {text}" for text in about]
    lines += ["", *_table(_medians([g for s in sections for g in s.groups]))]
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        for note in section.notes:
            lines += [*textwrap.wrap(note, TEXT_WIDTH), ""]
        lines += _table(_details(section.groups))
    return "\n".join(lines) + "\n"


def _text(x, y, text, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {extra}>{escape(text)}</text>'


class _Panel:
    """A group, with its upper left corner at x, y."""

    def __init__(self, group, x, y):
        self.group, self.x, self.y = group, x, y
        lows = [v[1] for v in group.values.values() if v[1] > 0]
        highs = [v[2] for v in group.values.values() if v[2] > 0]
        self.least = 10 ** math.floor(math.log10(min(lows, default=1)))
        self.most = 10 ** math.ceil(math.log10(max(highs, default=10)))
        if self.most <= self.least:
            self.most = self.least * 10

    @staticmethod
    def height(group):
        return HEAD + ROW * (len(group.values) + len(group.without)) + 24

    def at(self, number):
        """Where on the axis a number is."""
        share = (math.log10(max(number, self.least)) - math.log10(self.least)) / (
            math.log10(self.most) - math.log10(self.least))
        return self.x + LABEL + share * (PANEL_WIDTH - LABEL - NUMBER - 20)

    def _axis(self, bottom):
        decades = round(math.log10(self.most / self.least))
        parts = []
        for i in range(decades + 1):
            number = self.least * 10 ** i
            x = self.at(number)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{self.y + HEAD - 10}" '
                         f'y2="{bottom}" stroke="#ddd"/>')
            if i % max(1, decades // 3) == 0:
                parts.append(_text(x, bottom + 13, text_of(number),
                                   'fill="#777" text-anchor="middle" font-size="10"'))
        return parts

    def svg(self):
        """Its elements."""
        group, y = self.group, self.y + HEAD
        rows = len(group.values) + len(group.without)
        parts = [_text(self.x, self.y + 18, group.title(), 'font-weight="bold"')]
        parts += self._axis(y + ROW * rows - 4)
        for name, (median, low, high, _) in group.values.items():
            colour, middle = COLOURS.get(name, OTHERS), y + 4
            bold = ' font-weight="bold"' if name == "cflock" else ""
            parts += [
                _text(self.x + LABEL - 8, y + 8, name,
                      f'text-anchor="end" fill="{colour}"{bold}'),
                f'<line x1="{self.at(low):.1f}" x2="{self.at(high):.1f}" y1="{middle}" '
                f'y2="{middle}" stroke="{colour}" stroke-width="3" opacity="0.5"/>',
                f'<circle cx="{self.at(median):.1f}" cy="{middle}" r="4.5" '
                f'fill="{colour}"/>',
                _text(self.x + PANEL_WIDTH - 20, y + 8, text_of(median),
                      f'text-anchor="end"{bold}')]
            y += ROW
        for name in group.without:
            parts += [_text(self.x + LABEL - 8, y + 8, name,
                            'text-anchor="end" fill="#999"'),
                      _text(self.x + LABEL, y + 8, "not run",
                            'fill="#999" font-style="italic"')]
            y += ROW
        return parts


def _lines(sections):
    """Lines of panels, each a list of (title of a section or "", group).

    Sections of one group stand abreast; those of more have lines of their own."""
    lines = []
    for section in sections:
        groups = [group for group in section.groups if group.values]
        if len(groups) == 1:
            if not lines or len(lines[-1]) == PANELS_ABREAST or not all(
                    title for title, _ in lines[-1]):
                lines.append([])
            lines[-1].append((section.title, groups[0]))
            continue
        abreast = 2 if len(groups) == 4 else PANELS_ABREAST
        for first in range(0, len(groups), abreast):
            lines.append([("" if first + i else section.title, group) for i, group
                          in enumerate(groups[first:first + abreast])])
    return lines


def plot(about, sections):
    """The report as SVG."""
    parts, y = [], 64
    for line in _lines(sections):
        if line[0][0]:
            y += 24
        for i, (title, group) in enumerate(line):
            x = 20 + i * PANEL_WIDTH
            parts.append(_text(x, y, title, 'font-size="15" font-weight="bold"'))
            parts += _Panel(group, x, y + 4).svg()
        y += max(_Panel.height(group) for _, group in line)
    width = 20 + PANELS_ABREAST * PANEL_WIDTH
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" '
        'font-family="sans-serif" font-size="12">',
        "<title>cflock beside its peers</title>",
        f'<rect width="{width}" height="{y}" fill="white"/>',
        _text(20, 28, "cflock beside its peers", 'font-size="20" font-weight="bold"'),
        _text(20, 48, "Dot: median; line: 10 % to 90 % of the runs; logarithmic axes; "
              "less is better.", 'fill="#555"'),
        _text(width - 20, 28, about[0] if about else "",
              'text-anchor="end" fill="#555" font-size="10"'),
        *parts, "</svg>\n"])


def main():
    folder = sys.argv[1]
    about, sections = read(os.path.join(folder, "report.tsv"))
    for name, make in (("report.md", table), ("report.svg", plot)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(make(about, sections))


if __name__ == "__main__":
    main()
