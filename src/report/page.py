"""The parts that every HTML page of ours shares: head, style, tables, bars, pictures. A page is one file that loads
nothing.

Names of files and categories come from strangers: every text passes through `escape`, and the head forbids every script
but the page's own, by its hash.
"""
import base64
import hashlib
import html
from typing import NamedTuple, Sequence, Tuple

STYLE = '''
:root { color-scheme: light dark; --ink: #1c2733; --dim: #5b6b7b; --paper: #f6f7f9; --card: #fff; --line: #dde2e8;
        --bar: #4a86c8; --error: #c62f2f; --warning: #b26a00; --note: #51708f; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --dim: #9aa8b5; --paper: #14191f;
        --card: #1d242c; --line: #303a45; --bar: #5b9be0; --error: #ff7b72; --warning: #f0a845; --note: #8fb3d6; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
       max-width: 1060px; padding: 24px 20px 60px; }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 18px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 4px 0; } .dim { color: var(--dim); }
table { border-collapse: collapse; width: 100%; background: var(--card); border: 1px solid var(--line); }
th, td { text-align: right; padding: 6px 12px; border-top: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; min-width: 150px; }
.wide { overflow-x: auto; }
th { color: var(--dim); font-weight: 600; border-top: 0; }
.pictures { display: flex; flex-wrap: wrap; gap: 10px; margin-top: 10px; }
figure { margin: 0; } figcaption { font-size: 12px; color: var(--dim); max-width: 220px; overflow-wrap: anywhere; }
figure img { display: block; border-radius: 3px; }
.bars { display: grid; grid-template-columns: minmax(90px, max-content) 1fr 90px; gap: 3px 10px; align-items: center;
        background: var(--card); border: 1px solid var(--line); padding: 10px 14px; font-size: 13px; }
.bar { display: block; background: var(--bar); height: 12px; border-radius: 2px; min-width: 1px; }
.number { text-align: right; font-variant-numeric: tabular-nums; color: var(--dim); }
'''


def percent(share: float) -> str:
    """Return a share as per cent."""
    return f'{100 * share:.1f} %'


class Html(str):
    """Text that is HTML already."""


class Sorted(NamedTuple):
    """A table cell and the number by which its column is sorted."""

    text: str
    value: float


def escape(text: str) -> Html:
    """Return text for a page: markup is shown as it is, and what cannot be printed as a question mark."""
    return Html(html.escape(''.join(letter if letter.isprintable() else '?' for letter in text)))


def whole_page(title: str, body: Sequence[str], *, style: str = '', script: str = '') -> str:
    """Return a page.

    Args:
        title: as text.
        body: its parts as HTML.
        style: further CSS.
        script: JavaScript, which must not hold '</script'.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"'sha256-{digest}'" if script else "'none'"
    policy = (f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; base-uri 'none'; "
              "form-action 'none'")
    head = (f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
            f'<style>{STYLE}{style}</style></head><body>')
    tail = f'<script>{script}</script>' if script else ''
    return '\n'.join([head, *body, f'{tail}</body></html>\n'])


def table(rows: Sequence[Sequence[str]], name: str = '') -> Html:
    """Return a table; its first row is the head.

    Args:
        rows: cells as text, `Html`, or `Sorted`.
        name: id of the table; a named one can be sorted by the script of a report.
    """
    head, *body = rows
    lines = ['<thead><tr>' + ''.join(f'<th scope="col">{_cell(cell)}</th>' for cell in head) + '</tr></thead><tbody>']
    for row in body:
        values = [f' data-value="{cell.value!r}"' if isinstance(cell, Sorted) else '' for cell in row]
        lines.append('<tr>' + ''.join(f'<td{value}>{_cell(cell)}</td>' for value, cell in zip(values, row)) + '</tr>')
    mark = f' id="{name}" class="sortable"' if name else ''
    return Html(f'<div class="wide"><table{mark}>{"".join(lines)}</tbody></table></div>')


def _cell(cell) -> str:
    text = cell.text if isinstance(cell, Sorted) else cell
    return text if isinstance(text, Html) else escape(text)


def bars(rows: Sequence[Tuple[str, int]], total: int) -> Html:
    """Return counts as horizontal bars, with their shares of a total."""
    most = max([count for _, count in rows] or [1]) or 1
    cells = [f'<span>{escape(name)}</span><span><span class="bar" style="width:{100 * count / most:.1f}%">'
             f'</span></span>'
             f'<span class="number">{count} ({100 * count / max(1, total):.0f} %)</span>' for name, count in rows]
    return Html(f'<div class="bars">{"".join(cells)}</div>')


def notes_list(notes: Sequence[str]) -> Html:
    """Return what the reader should know, as a list."""
    return Html(f'<ul class="notes">{"".join(f"<li>{escape(each)}</li>" for each in notes)}</ul>')


def jpeg_source(encoded: bytes) -> str:
    """Return the address of an inlined JPEG picture."""
    return f'data:image/jpeg;base64,{base64.b64encode(encoded).decode()}'
