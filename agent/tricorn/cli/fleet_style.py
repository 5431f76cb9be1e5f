"""How the fleet's page looks: on light and dark screens, narrow ones and paper."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #5a6675; --line: #dfe4ea; --grid: #e8ecf1;
  --running: #1f8a70; --paused: #b7791f; --stopped: #94a0ae; --failed: #c53b3b; --created: #3b78c4;
  --agent: #4a5a78; --share: #4fb3a0; --alarm: #fdecec; }
@media (prefers-color-scheme: dark) { :root {
  --page: #12161c; --card: #1b212a; --ink: #e7ebf0; --soft: #9aa7b6; --line: #2d3642; --grid: #27303b;
  --running: #3fbf9f; --paused: #e0a94a; --stopped: #6f7c8b; --failed: #ef6b6b; --created: #6ba3ea;
  --agent: #8fa3c8; --share: #2f8f7d; --alarm: #3a2023; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main, header, footer { max-width: 1160px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 28px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 34px 0 10px; }
p { margin: 4px 0; }
.soft, footer { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 12px;
  margin: 20px 0 0; padding: 0; list-style: none; }
.tiles li, .card, .panel { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tiles li { padding: 12px 14px; }
.tiles b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.tiles b { overflow-wrap: anywhere; line-height: 1.25; }
.tiles .bad b { color: var(--failed); }
.alarm { background: var(--alarm); border: 1px solid var(--failed); border-radius: 10px; padding: 10px 14px;
  margin-top: 18px; overflow-wrap: anywhere; }
.nodes { display: grid; grid-template-columns: repeat(auto-fill, minmax(210px, 1fr)); gap: 12px; margin: 0;
  padding: 0; list-style: none; }
.card { padding: 12px 14px; break-inside: avoid; }
.card h3 { display: flex; justify-content: space-between; gap: 8px; font-size: 15px; margin: 0; }
.card h3 span:first-child { overflow-wrap: anywhere; }
.card p { font-size: 13px; overflow-wrap: anywhere; }
.card svg { display: block; margin: 8px 0; width: 100%; max-width: 220px; height: auto; }
.card.lost { border-color: var(--failed); border-style: dashed; }
.card.cordoned { border-color: var(--created); border-style: dashed; }
.tags { display: flex; flex-wrap: wrap; justify-content: flex-end; gap: 4px; flex: none; }
.tag { flex: none; align-self: flex-start; font-size: 11px; font-weight: 600; border-radius: 99px;
  padding: 1px 8px; border: 1px solid; }
.tag.ok { color: var(--running); } .tag.cordoned { color: var(--created); }
.tag.differs { color: var(--paused); } .tag.lost { color: var(--failed); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft);
  margin: 10px 0 0; padding: 0; list-style: none; }
.legend svg { width: 14px; height: 14px; vertical-align: -2px; margin-right: 5px; }
.panel { padding: 14px; overflow-x: auto; break-inside: avoid; }
.panel > svg { display: block; width: 100%; min-width: 640px; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg text.soft { fill: var(--soft); font-size: 12px; }
svg .grid { stroke: var(--grid); } svg .base { stroke: var(--line); }
.running { fill: var(--running); } .paused { fill: var(--paused); } .created { fill: var(--created); }
.failed { fill: var(--failed); }
.stopped { fill: var(--card); stroke: var(--stopped); stroke-width: 2; }
.mark { stroke: var(--card); stroke-width: 2.2; fill: none; stroke-linecap: round; }
.agent { fill: var(--agent); } .share { fill: var(--share); }
.alone { fill: var(--created); fill-opacity: .75; }
.among { fill: none; stroke: var(--created); stroke-width: 2; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; color: var(--soft); padding-bottom: 6px; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; min-width: 4.5em; }
thead th { color: var(--soft); font-weight: 600; font-size: 12px; white-space: nowrap;
  overflow-wrap: normal; }
tbody tr:last-child > * { border-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.digest { font: 13px ui-monospace, monospace; }
.digest, .whole { white-space: nowrap; }
footer { padding: 30px 20px 40px; font-size: 13px; }
@media print {
  :root { --page: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --grid: #ddd; --alarm: #fff;
    --running: #1f8a70; --paused: #b7791f; --stopped: #777; --failed: #b02a2a; --created: #3b78c4;
    --agent: #4a5a78; --share: #4fb3a0; }
  body { font-size: 11px; } main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .panel { overflow: visible; } h2 { break-after: avoid; } tr { break-inside: avoid; } }
"""
