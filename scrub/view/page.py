"""A self-contained HTML page: no network, no external files, legible in light and in dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark;
  --text: #1c2024; --soft: #60646c; --line: #d9dde2; --page: #ffffff; --panel: #f6f7f9; --accent: #0b68cb;
  --original: #0072b2; --scrubbed: #c2410c; --both: #7c3aed; --neither: #7b828a; --heat: 11, 104, 203; }
@media (prefers-color-scheme: dark) { :root {
  --text: #e8eaed; --soft: #a3aab3; --line: #3a4048; --page: #14171a; --panel: #1d2125; --accent: #6cb6ff;
  --original: #56b4e9; --scrubbed: #ff9d6b; --both: #c4a7ff; --neither: #8b939c; --heat: 108, 182, 255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
body.wide { max-width: none; padding: 1rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; } h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; } figure { margin: 1rem 0; } svg { display: block; max-width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } td.wide { white-space: normal; min-width: 16rem; }
th:first-child, td:first-child, td.wide, th.wide { text-align: left; }
svg text { fill: var(--text); font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
svg text.soft { fill: var(--soft); } svg .rule { stroke: var(--line); } svg .mark { fill: var(--accent); }
svg .bar { stroke: var(--accent); stroke-width: 2.5; } svg .zero { stroke: var(--soft); stroke-dasharray: 3 3; }
.original { color: var(--original); } .scrubbed { color: var(--scrubbed); } .both { color: var(--both); }
.neither { color: var(--neither); } .swatch { display: inline-block; margin-right: 1rem; white-space: nowrap; }
code, pre { font: .88em ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .75rem 1rem;
  overflow-x: auto; }
"""


def page(title: str, sections: Sequence[str], *, is_wide: bool = False) -> str:
    """The whole document.

    Args:
        title: plain text.
        sections: HTML, one after another.
        is_wide: use the whole width of the window, not a column of readable width.
    """
    kind = "wide" if is_wide else "column"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<style>{_STYLE}</style>\n</head>\n<body class="{kind}">\n<h1>{escape(title)}</h1>\n'
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, wide: Sequence[int] = ()) -> str:
    """An HTML table of plain texts; columns listed in `wide` are left-aligned and wrap."""

    def cell(tag: str, text: str, column: int) -> str:
        kind = ' class="wide"' if column in wide else ""
        return f"<{tag}{kind}>{escape(text)}</{tag}>"

    head = "".join(cell("th", text, i) for i, text in enumerate(header))
    body = "".join(f"<tr>{''.join(cell('td', text, i) for i, text in enumerate(row))}</tr>\n" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
