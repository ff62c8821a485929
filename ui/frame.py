"""What surrounds every page: the sidebar's workspace field and the few styles that Streamlit's theme has no words for."""

from __future__ import annotations

import streamlit as st

from ui import workspaces

STYLE = """<style>
.stMainBlockContainer{padding-top:2.6rem;padding-bottom:4rem;max-width:1500px}
h1{letter-spacing:-.01em;text-wrap:balance}
.aigi-stats{display:flex;flex-wrap:wrap;gap:.9rem 2.6rem;margin:.1rem 0 .4rem!important;padding:0!important}
.aigi-stats dd{padding:0!important}
.aigi-stats>div{flex:1 1 10.5rem;max-width:22rem}
.aigi-stats dt{font-size:.86rem;opacity:.75}
.aigi-stats abbr{text-decoration:underline dotted;text-underline-offset:3px;cursor:help}
.aigi-stats dd{margin:0;display:flex;flex-direction:column}
.aigi-stats bdi{display:block}
.aigi-stats b{font-size:1.55rem;font-weight:600;line-height:1.25;font-variant-numeric:tabular-nums}
.aigi-stats span{font-size:.82rem;opacity:.75;font-variant-numeric:tabular-nums}
.aigi-grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(var(--tile),1fr));gap:.8rem .7rem}
.aigi-tile{margin:0;min-width:0}
.aigi-tile a{display:block}
.aigi-tile a:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.aigi-tile button{display:block;width:100%;padding:0;border:0;background:none;color:inherit;font:inherit;cursor:pointer}
.aigi-tile button:focus-visible{outline:2px solid currentColor;outline-offset:2px}
.aigi-picture{display:flex;align-items:center;justify-content:center;aspect-ratio:1;overflow:hidden;border-radius:3px;
background:rgba(128,128,128,.14) center/cover no-repeat;font-size:.78rem}
.aigi-picture img{width:100%;height:100%;object-fit:contain;color:transparent;font-size:0;position:relative;background:inherit}
.aigi-picture img::before{content:"";position:absolute;inset:0;background:inherit}
.aigi-right .aigi-picture{border-bottom:4px solid #2a7fa5}
.aigi-wrong .aigi-picture{border-bottom:4px solid #c2571a}
.aigi-tile figcaption{font-size:.78rem;line-height:1.3;padding-top:.3rem;display:flex;flex-direction:column}
.aigi-tile figcaption span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;opacity:.85;font-variant-numeric:tabular-nums}
.aigi-tile figcaption span:first-child{font-weight:600;opacity:1}
.stMain [data-testid=stCaptionContainer]{opacity:.82}
.st-key-page-head{flex-wrap:nowrap!important}
.stElementContainer:has(>.stSelectbox){min-width:min(10.2rem,100%)}
[class*=st-key-controls-]:has(.stMultiSelect):not(:has(.stCheckbox)){align-items:flex-start!important}
.stElementContainer:has(>.stMultiSelect){min-width:min(20rem,100%)}
.stMultiSelect [role=group]:has(>[data-testid=stMultiSelectTagsContainer]){height:auto;min-height:40px;max-height:7.4rem}
[data-testid=stMultiSelectTagsContainer]{height:auto!important;max-height:7.2rem;flex-wrap:wrap!important;row-gap:3px;overflow:hidden auto!important}
[data-testid=stMultiSelectTagsContainer]>span>span{background:rgba(128,128,128,.2)!important}
[data-testid=stMultiSelectTagsContainer] span{color:inherit!important}
.stMain [data-testid=stButtonGroup]>div{flex-wrap:wrap}
.aigi-foot{font-size:.78rem;opacity:.75;margin-top:1.2rem}
@media (max-width:950px){[data-testid=stSidebar][data-collapsed=false]{width:210px!important;min-width:0!important}
.aigi-stats{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.7rem 1.4rem}}
@media (max-width:950px){.stPlotlyChart:has(.heatmaplayer .hm):has(.xtick:nth-child(10)) .textpoint text{font-size:7px!important}}
@media (max-width:1100px){.stMain .stHorizontalBlock:has(>.stColumn){flex-wrap:wrap;row-gap:1rem}.stMain .stHorizontalBlock>.stColumn{min-width:100%}}
</style>"""


def frame() -> None:
    """Draw the frame; called by ``app.py`` before the page."""
    st.html(STYLE)
    with st.sidebar:
        workspaces.choose()
