"""What every page looks like, and the script that sorts its tables.

Colours and the look of plots are ``drawing``'s; what stands on a page is up to the pages.
"""

STYLE = """
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); overflow-wrap: break-word;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main { max-width: 1152px; margin: 0 auto; padding: 28px 16px 64px }
.name { color: var(--quiet); margin: 0 0 4px; font-size: 14px; letter-spacing: .02em }
h1 { font-size: clamp(20px, 2.6vw, 27px); line-height: 1.35; font-weight: 650; margin: 0 0 22px; max-width: 44em }
h2 { font-size: 20px; margin: 44px 0 4px; line-height: 1.3 } h3 { font-size: 16px; margin: 0 0 6px; font-weight: 600 }
p { margin: 0 0 12px; max-width: 46em } .note { color: var(--quiet); font-size: 14.5px }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 20px }
.figures div { background: var(--panel); border-radius: 10px; padding: 12px 14px }
.figures dt { color: var(--quiet); font-size: 13.5px; line-height: 1.35 }
.figures dd { margin: 2px 0 0; font-size: 23px; font-weight: 650; font-variant-numeric: tabular-nums }
.figures dd + dd { font-size: 13.5px; font-weight: 400; color: var(--quiet); line-height: 1.4 }
.best-ink { color: var(--best) } .early-ink { color: var(--early) }
ul { margin: 0 0 8px; padding-left: 20px; max-width: 46em } li { margin: 4px 0 }
.commands { display: grid; grid-template-columns: minmax(0, 1fr); gap: 10px; margin: 0 0 8px }
.commands p { margin: 0; color: var(--quiet); font-size: 14px }
pre { margin: 2px 0 0; padding: 10px 14px; background: var(--panel); border-radius: 8px; overflow-x: auto;
  font: 14px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; user-select: all }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 28px 32px;
  margin: 14px 0 8px }
figure { margin: 0; min-width: 0 } figure svg { display: block; max-width: 100%; height: auto }
figure .slim { display: none }
.scroll { overflow: auto; margin: 14px 0 0; width: fit-content; max-width: 100%; max-height: 560px;
  border-radius: 8px; border: 1px solid var(--grid) }
.scroll:focus-visible { outline: 2px solid var(--trial) }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
th, td { padding: 6px 12px; text-align: left; white-space: nowrap } td[data-by] { text-align: right }
tr.lost td:last-child { white-space: normal; min-width: 220px }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; padding: 0 }
th button { all: unset; cursor: pointer; padding: 8px 12px; display: block } th.number { text-align: right }
th button:focus-visible { outline: 2px solid var(--trial); outline-offset: -2px }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
tbody tr { border-top: 1px solid var(--grid) } tr.lost td { color: var(--quiet) }
tr.best td { color: var(--best); font-weight: 600 } tr.early td { color: var(--early); font-weight: 600 }
footer { margin-top: 48px; color: var(--quiet); font-size: 14px }
@media (max-width: 1020px) { figure.broad .full { display: none } figure.broad .slim { display: block } }
@media (max-width: 599px) { figure .full { display: none } figure .slim { display: block } }
@media print { .scroll { max-height: none; overflow: visible } }
"""
SORT = """
document.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
  const th = button.parentNode, body = th.closest("table").tBodies[0], column = th.cellIndex;
  const up = th.getAttribute("aria-sort") !== "ascending";
  th.parentNode.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  th.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => { const cell = row.cells[column];
    return cell.dataset.by === undefined ? cell.textContent : Number(cell.dataset.by) };
  const empty = row => row.cells[column].textContent === "";
  [...body.rows].sort((a, b) => {
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    const [x, y] = [key(a), key(b)];
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
    return up ? order : -order;
  }).forEach(row => body.append(row));
}));
"""
ANSWERS = """
h1 .by { display: block; font-size: 17px; font-weight: 400; line-height: 1.5; color: var(--quiet); margin-top: 6px;
  max-width: 52em } h1 .joint { display: none }
.example { border-top: 1px solid var(--grid); padding: 18px 0 6px; margin-top: 14px }
.example h3 { margin: 0 0 8px; overflow-wrap: anywhere } .example h3 small { color: var(--quiet); font-weight: 400 }
.example pre, .part pre { user-select: auto } .sides { display: grid; gap: 12px 28px; margin-top: 12px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr)) }
.sides section { min-width: 0 } h4 { margin: 0 0 6px; font-size: 15px; font-weight: 600 }
.good { color: var(--good) } .bad { color: var(--bad) } .detail { color: var(--quiet); font-size: 14px;
  overflow-wrap: anywhere; margin: 0 0 6px }
pre.prose { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 420px; overflow-y: auto }
.sides pre.prose { max-height: 230px } .sides details pre.prose { max-height: 420px }
pre.code { max-height: 520px; overflow: auto; font-size: 13.5px } code { font: inherit }
.code .k { color: var(--early) } .code .s { color: var(--good) } .code .n { color: var(--trial) }
.code .c { color: var(--quiet); font-style: italic }
details { margin: 6px 0 } summary { cursor: pointer; color: var(--quiet); font-size: 14.5px; padding: 4px 0;
  overflow-wrap: anywhere }
summary:focus-visible { outline: 2px solid var(--trial); outline-offset: 2px }
figure.broad { margin: 26px 0 8px } details.part { margin: 26px 0 0 }
details.part > summary { color: var(--text); font-size: 17px; font-weight: 600 }
.card { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 6px 18px; margin: 12px 0;
  font-size: 15px }
.card dt { color: var(--quiet) } .card dd { margin: 0; overflow-wrap: anywhere; max-width: 60em }
@media (max-width: 599px) { .card { grid-template-columns: minmax(0, 1fr); gap: 0 }
  .card dd { margin: 0 0 8px } }
"""
