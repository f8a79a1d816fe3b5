"""Draws a run of the chamber as SVG: nemeses above, then the holders of each lock.

The whole in one picture, and 6 s around each of the first violations in others.
"""

import os
from xml.sax.saxutils import escape, quoteattr

S = 1000000000
ROW = 16
LABEL = 130
WIDTH_MOST = 30000
PICTURES_MOST = 5
COLOURS = {"process": "#8e44ad", "server": "#c0392b", "net": "#2980b9",
           "clock": "#16a085", "load": "#7f8c8d", "beyond": "#333333",
           "replica": "#333333"}


def _rect(x, y, width, fill, title, extra=""):
    return (f'<rect x="{x:.1f}" y="{y}" width="{max(width, 1.5):.1f}" '
            f'height="{ROW - 3}" fill="{fill}" {extra}><title>{escape(title)}'
            "</title></rect>")


def _text(x, y, text, extra=""):
    return f'<text x="{x:.1f}" y="{y + ROW - 5}" {extra}>{escape(text)}</text>'


def _lanes(spans):
    """Puts (from, to, thing) into as few rows as hold them without overlap."""
    rows = []
    for span in sorted(spans, key=lambda s: s[0]):
        for row in rows:
            if row[-1][1] <= span[0]:
                row.append(span)
                break
        else:
            rows.append([span])
    return rows


class _Drawing:
    def __init__(self, since, until, scale):
        self.since, self.until, self.scale = since, until, scale
        self.parts, self.y = [], ROW + 8

    def x(self, at):
        at = min(max(at, self.since), self.until)
        return LABEL + (at - self.since) / S * self.scale

    def label(self, text):
        self.parts.append(_text(4, self.y, text, 'font-weight="bold"'))

    def bar(self, since, until, fill, title, extra=""):
        if until < self.since or since > self.until:
            return
        self.parts.append(_rect(self.x(since), self.y, self.x(until) - self.x(since),
                                fill, title, extra))

    def svg(self, title):
        width = self.x(self.until) + 20
        height = self.y + ROW
        grid = []
        step = 1 if self.scale >= 40 else 5 if self.scale >= 10 else 30
        for second in range(0, int((self.until - self.since) / S) + 1, step):
            x = LABEL + second * self.scale
            grid.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ROW}" y2="{height}" '
                        'stroke="#ddd"/>')
            grid.append(_text(x, 0, f"{self.since / S + second:.1f} s", 'fill="#777"'))
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
            f'height="{height}" font-family="sans-serif" font-size="11" '
            f"aria-label={quoteattr(title)}>", f"<title>{escape(title)}</title>",
            f'<rect width="{width:.0f}" height="{height}" fill="white"/>',
            *grid, *self.parts, "</svg>\n"])


def _nemeses(drawing, log):
    over = {e["number"]: e["t"] for e in log.of("nemesis-over")}
    spans = [(e["t"], max(over.get(e["number"], drawing.until),
                          e["t"] + int(70 / drawing.scale * S)), e)
             for e in log.of("nemesis")]
    spans = [s for s in spans if s[1] >= drawing.since and s[0] <= drawing.until]
    drawing.label("nemeses")
    for row in _lanes(spans):
        for since, _, event in row:
            title = f"{event['nemesis']} {event.get('target') or ''}"
            drawing.bar(since, over.get(event["number"], since),
                        COLOURS[event["group"]], title, 'opacity="0.8"')
            drawing.parts.append(_text(
                drawing.x(since) + 2, drawing.y, title[:int(drawing.scale)],
                'fill="#333" font-size="9"'))
        drawing.y += ROW
    drawing.y += ROW // 2


def _holders(drawing, log, bad):
    names = log.by_name()
    hosts = sorted({run.host for run in log.runs.values()})
    for name in sorted(names):
        for host in hosts:
            runs = [r for r in names[name] if r.host == host]
            drawing.label(f"{name} on {host}" if host else name)
            rows = _lanes([(r.start, r.last, r) for r in runs
                           if r.last >= drawing.since and r.start <= drawing.until])
            for row in rows or [[]]:
                for since, until, run in row:
                    colour = ("#e74c3c" if run.run in bad else "#e67e22"
                              if not run.ends else "#27ae60" if run.kind == "x"
                              else "#82c99a")
                    title = (f"{run.run} {run.sort} {run.kind} {run.flags} token "
                             f"{run.token}, from {since / S:.4f} to {until / S:.4f}, "
                             f"exit code {run.code if run.done else '-'}")
                    drawing.bar(since, until, colour, title, 'stroke="black" '
                                'stroke-width="2"' if run.run in bad else "")
                drawing.y += ROW
        drawing.y += ROW // 2


def _draw(log, since, until, scale, bad, title):
    drawing = _Drawing(since, until, scale)
    _nemeses(drawing, log)
    for calm in log.of("calm"):
        drawing.bar(calm["t"], calm["until"], "#eeeeee", "calm")
    drawing.label("calms; the machine starved")
    for event in log.of("starved"):
        drawing.bar(event["since"], event["t"], "#f1c40f",
                    f"nothing ran for {event['ms']} ms")
    drawing.y += ROW + ROW // 2
    _holders(drawing, log, bad)
    return drawing.svg(title)


def draw(log, verdicts, folder):
    """Writes the pictures; returns their names."""
    faults = [(fault, verdict) for verdict in verdicts
              for fault in verdict.faults + verdict.excused if fault.at]
    bad = {run for fault, _ in faults for run in fault.runs}
    times = [r.asked for r in log.runs.values()] + [e["t"] for e in log.events]
    if not times:
        return []
    since, until = min(times), max(times)
    scale = min(80, WIDTH_MOST / max(1, (until - since) / S))
    pictures = {"timeline.svg": _draw(log, since, until, scale, bad, "All of it")}
    shown = []
    for fault, verdict in sorted(faults, key=lambda f: f[0].at):
        if any(abs(fault.at - at) < 3 * S for at in shown):
            continue
        shown.append(fault.at)
        if len(shown) > PICTURES_MOST:
            break
        pictures[f"violation-{len(shown)}.svg"] = _draw(
            log, fault.at - 4 * S, fault.at + 2 * S, 200, set(fault.runs),
            f"{verdict.name}: {fault.text}")
    for name, text in pictures.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(text)
    return list(pictures)
