"""How the page looks: the colours of ``capivara show --html``, light and dark, on a desk, a phone and paper."""

CSS = """
:root { color-scheme: light dark; --ground: #f6f4ef; --card: #fff; --ink: #1d1b18; --soft: #6b655c; --line: #e2ddd3;
  --accent: #8a4b16; --alarm: #a3211b; --base: #8f8a80; --good: #2b6a3f; --wash: #f3e7da; --series-1: #2f6690;
  --series-2: #5b8c5a; --series-3: #8e5a9b; --series-4: #b98b2f; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #171614; --card: #211f1c; --ink: #ece8e1;
  --soft: #a49d92; --line: #37332d; --accent: #e0a26a; --alarm: #ff8f85; --base: #8d877d; --good: #86c79a;
  --wash: #33281d; --series-1: #7fb2d9; --series-2: #9ccb9a; --series-3: #c79ad3; --series-4: #e0bd6d; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 74rem; padding: 0 clamp(.9rem, 3vw, 2.5rem) 3rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, "Noto Sans", sans-serif; }
header { padding: 2.2rem 0 .6rem; }
h1, h2, h3, h4, p, ul, ol, dl, figure { margin: 0; }
h1 { font-size: clamp(2.2rem, 7vw, 3.6rem); line-height: 1.05; letter-spacing: -.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.5rem; letter-spacing: -.01em; margin-bottom: .3rem; }
h3 { font-size: 1.02rem; margin: 1.3rem 0 .4rem; }
h4 { font-size: .9rem; margin: .8rem 0 .3rem; }
.eyebrow { color: var(--accent); font-weight: 600; font-size: .82rem; letter-spacing: .04em; margin-bottom: .4rem;
  overflow-wrap: anywhere; }
.lead { color: var(--soft); font-size: 1.05rem; margin-top: .5rem; overflow-wrap: anywhere; }
.lead b { color: var(--ink); font-weight: 600; }
.intro { color: var(--soft); max-width: 46rem; margin-bottom: .9rem; }
.soft, .note, small { color: var(--soft); }
.note { font-size: .84rem; margin: .5rem 0; max-width: 46rem; }
section { border-top: 1px solid var(--line); padding: 1.8rem 0 .6rem; margin-top: 1.6rem; }
nav { display: flex; flex-wrap: wrap; gap: .35rem .4rem; margin-top: 1.2rem; }
nav a { color: var(--soft); text-decoration: none; font-size: .84rem; border: 1px solid var(--line);
  border-radius: 1rem; padding: .15rem .7rem; background: var(--card); }
nav a:hover, nav a:focus-visible { color: var(--accent); border-color: var(--accent); }
.tiles { display: grid; gap: .8rem; grid-template-columns: repeat(4, 1fr); margin-top: 1.4rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: .8rem; padding: 1rem 1.1rem;
  min-width: 0; font-size: .88rem; color: var(--soft); overflow-wrap: anywhere; }
.tile h3 { margin: 0 0 .25rem; font-size: .84rem; font-weight: 600; color: var(--soft); }
.tile b { color: var(--ink); }
.tile .mid { font-size: 1.35rem; font-weight: 650; color: var(--ink); line-height: 1.25; margin-bottom: .15rem; }
.wide { grid-column: span 2; grid-row: span 2; }
.hero { border-color: var(--accent); background: linear-gradient(160deg, var(--wash), var(--card) 70%);
  padding: 1.3rem 1.5rem; display: flex; flex-direction: column; justify-content: center; gap: .2rem;
  font-size: .95rem; }
.hero .big { font-size: clamp(3rem, 8vw, 4.6rem); font-weight: 700; letter-spacing: -.03em; line-height: 1.05; }
.hero .big small { margin-left: .5rem; font-size: 1.05rem; font-weight: 500; letter-spacing: 0; }
.up { color: var(--good); } .down { color: var(--alarm); } .same { color: var(--soft); }
.hero .up { color: var(--accent); }
.panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
.panel { background: var(--card); border: 1px solid var(--line); border-radius: .8rem; padding: .9rem 1rem;
  min-width: 0; }
.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.panel h3 { margin: 0 0 .5rem; }
.chart svg { display: block; width: 100%; max-width: 32rem; height: auto; }
.panel .scroll, .panel table { background: none; }
.scroll .chart svg { max-width: none; width: auto; }
.chart svg * { stroke-linejoin: round; stroke-linecap: butt; }
.chart text { font-family: system-ui, "Noto Sans", sans-serif !important; }
.scroll { overflow-x: auto; max-width: 100%; }
.scroll:focus-visible, pre:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
p:empty { display: none; }
.wrap td { white-space: normal; min-width: 7rem; overflow-wrap: anywhere; }
.panels + .scroll { margin-top: 1rem; }
.folds { display: grid; gap: .7rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr));
  margin-top: .6rem; }
.folds details[open] { grid-column: 1 / -1; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; min-width: 100%;
  background: var(--card); }
th, td { text-align: left; padding: .34rem .6rem; white-space: nowrap; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td:has(br), dd { white-space: normal; }
th { font-weight: 600; color: var(--soft); font-size: .8rem; }
.over th { text-align: center; border-bottom: 0; padding-bottom: 0; color: var(--accent); }
.n { text-align: right; }
tr.first td { border-top: 2px solid var(--line); }
tr.before td, tr.other td, tr.variant td { color: var(--soft); }
tr.variant td { font-size: .8rem; }
tr.mean td, tr.after:last-child td { background: var(--wash); }
details { border: 1px solid var(--line); border-radius: .8rem; background: var(--card); min-width: 0; }
details > :not(summary) { padding: 0 1rem .8rem; }
summary { cursor: pointer; padding: .6rem 1rem; overflow-wrap: anywhere; }
summary:hover { color: var(--accent); }
.pair { display: grid; gap: 1rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
.pair > div { min-width: 0; }
ol.confused { padding-left: 1.4rem; font-size: .86rem; columns: 2 14rem; }
.confused li { overflow-wrap: anywhere; break-inside: avoid; }
img { border-radius: .35rem; flex: none; max-width: 100%; height: auto; }
.queries, .cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); }
article { border: 1px solid var(--line); border-radius: .7rem; background: var(--card); padding: .9rem; min-width: 0;
  break-inside: avoid; }
.asked { display: flex; gap: .8rem; align-items: flex-start; margin-bottom: .6rem; }
.asked > div { min-width: 0; flex: 1; }
.asked > img, .asked > .lacking { width: 7rem; height: auto; }
.caption { font-size: 1.02rem; font-weight: 550; overflow-wrap: anywhere; }
.verdict { display: inline-block; font-size: .76rem; font-weight: 600; border-radius: 1rem; padding: .05rem .6rem;
  margin-bottom: .35rem; border: 1px solid currentColor; }
.gained { color: var(--good); } .lost { color: var(--alarm); } .kept, .missed { color: var(--soft); }
.side { border-top: 1px solid var(--line); padding-top: .45rem; margin-top: .45rem; }
.rank { font-size: .8rem; color: var(--soft); margin-bottom: .25rem; } .rank b { color: var(--ink); }
.strip { display: grid; grid-template-columns: repeat(5, 1fr); gap: .3rem; align-items: start; }
.strip img { width: 100%; aspect-ratio: 1; object-fit: cover; opacity: .8; }
.strip img.right { opacity: 1; outline: 3px solid var(--good); outline-offset: -1px; }
.lacking { display: block; aspect-ratio: 1; border: 1px dashed var(--soft); border-radius: .35rem; min-width: 2rem; }
.strip .lacking.right { border: 3px solid var(--good); }
.own { list-style: none; padding: 0; font-weight: 550; font-size: .92rem; }
.own li, .texts li { overflow-wrap: anywhere; }
.texts { padding-left: 1.3rem; font-size: .86rem; color: var(--soft); }
.texts .right { color: var(--good); font-weight: 600; }
figcaption { min-width: 0; font-size: .82rem; } figcaption b { display: block; overflow-wrap: anywhere; }
figcaption span { color: var(--soft); }
.cards figure { display: flex; gap: .8rem; align-items: flex-end; margin-bottom: .5rem; }
.cards figure img { width: 9rem; }
.cards h4 { color: var(--accent); }
.fates { list-style: none; padding: 0; font-size: .9rem; }
.fates li { margin-bottom: .4rem; overflow-wrap: anywhere; }
.fates small { display: block; font-size: .76rem; }
.fates data { font-variant-numeric: tabular-nums; color: var(--ink); }
.gone .text { text-decoration: line-through; text-decoration-color: var(--alarm); color: var(--soft); }
.why { color: var(--alarm); }
.stages { padding-left: 1.2rem; color: var(--soft); font-size: .88rem; margin-bottom: .9rem; }
code { font-size: .92em; overflow-wrap: anywhere; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem;
  margin: .3rem 0 .8rem; font-size: .84rem; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) 1fr; gap: .3rem 1.2rem; font-size: .88rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
.missing { border: 1px dashed var(--soft); border-radius: .7rem; padding: .8rem 1rem; color: var(--soft); }
.missing pre { margin: .5rem 0 0; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: 1rem; color: var(--soft);
  font-size: .84rem; }
@media (max-width: 56rem) { .tiles { grid-template-columns: 1fr 1fr; } }
@media (max-width: 30rem) { .tiles { gap: .6rem; } .tile { padding: .8rem; } dl { grid-template-columns: 1fr; gap: 0;
  } dd { margin-bottom: .5rem; } .wide { grid-row: auto; } details > :not(summary) { padding: 0 .6rem .6rem; } }
@media print { :root { color-scheme: light; --ground: #fff; --wash: #f6efe7; } body { max-width: none;
  font-size: .8rem; } nav { display: none; } section { break-inside: auto; } h2, h3, summary { break-after: avoid; }
  .tile, .panel, .pair > div, figure { break-inside: avoid; } .scroll { overflow: visible; } table {
  font-size: .58rem; } th { font-size: .58rem; } .scroll .chart svg { max-width: 100%; min-width: 0 !important; }
  th, td { padding: .15rem .3rem; white-space: normal; } .wrap td { min-width: 0; }
  details::details-content { content-visibility: visible; } }
"""
