"""The style sheet: posters, cards and the few places where Streamlit's own spacing is too wide."""

CSS = """
<style>
.block-container { padding: 4.4rem 2rem 4rem; max-width: 1360px; }
h1 { font-size: 2.1rem !important; padding-bottom: .35rem !important; }
h3 { font-size: 1.25rem !important; padding-top: 0 !important; }
.mr-viewer { font-size: .95rem; }
.mr-poster {
  position: relative; aspect-ratio: 3 / 4; border-radius: 12px; overflow: hidden; color: #fff;
  display: flex; flex-direction: column; justify-content: space-between; isolation: isolate;
  background:
    radial-gradient(120% 80% at 100% 0%, hsl(var(--h2) 62% 52% / .85), transparent 62%),
    linear-gradient(165deg, hsl(var(--h1) 52% 40%), hsl(var(--h1) 58% 19%) 62%, hsl(var(--h2) 45% 11%));
  box-shadow: 0 1px 2px rgb(0 0 0 / .25), 0 6px 18px rgb(0 0 0 / .14);
}
.mr-poster::after {
  content: ""; position: absolute; inset: 0; z-index: -1;
  background: linear-gradient(to top, rgb(0 0 0 / .62), rgb(0 0 0 / .12) 55%, transparent);
}
.mr-glyph {
  position: absolute; right: -6%; top: 12%; z-index: -1; font-family: "Material Symbols Rounded";
  font-size: 8.2rem; line-height: 1; white-space: nowrap; text-transform: none; letter-spacing: normal;
  font-feature-settings: "liga"; color: rgb(255 255 255 / .17); transform: rotate(-8deg); user-select: none;
  max-width: 8.4rem; overflow: hidden;
}
.mr-top { display: flex; justify-content: space-between; align-items: center; padding: .55rem .65rem; }
.mr-rank { font-weight: 700; font-size: .95rem; opacity: .92; text-shadow: 0 1px 3px rgb(0 0 0 / .5); }
.mr-year {
  margin-left: auto; font-size: .74rem; font-weight: 600; padding: .1rem .45rem; border-radius: 99px;
  background: rgb(0 0 0 / .38);
}
.mr-foot { padding: .2rem .7rem .7rem; }
.mr-title {
  font-size: 1.06rem; font-weight: 700; line-height: 1.2; text-wrap: balance; overflow: hidden;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; text-shadow: 0 1px 4px rgb(0 0 0 / .55);
}
.mr-genres {
  margin-top: .25rem; font-size: .74rem; opacity: .86; white-space: nowrap; overflow: hidden; text-overflow: ellipsis;
}
.mr-bar { margin-top: .5rem; height: 4px; border-radius: 4px; background: rgb(255 255 255 / .24); }
.mr-bar i { display: block; height: 100%; border-radius: 4px; background: rgb(255 255 255 / .92); }
.mr-meta { font-size: .8rem; opacity: .72; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.mr-meta b { font-weight: 600; }

/* The two smaller buttons of a card show their icon alone; their names stay for screen readers. */
[class*="st-key-dislike-"] [data-testid="stMarkdownContainer"],
[class*="st-key-watch-"] [data-testid="stMarkdownContainer"] {
  position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap;
}
[class*="st-key-card-"] { gap: .45rem; }
[class*="st-key-card-"] button { min-height: 2.2rem; padding: .2rem .5rem; }
[class*="st-key-buttons-"] { gap: .35rem; }
/* On the film page each of these links leads to the page that is open; none is "the current one". */
[class*="st-key-card-"] a { background: none !important; }
[class*="st-key-card-"] a p { font-weight: 400 !important; font-size: .86rem; }

@media (max-width: 640px) {
  .block-container { padding-left: .8rem; padding-right: .8rem; }
  .mr-title { font-size: .94rem; }
  .st-key-alone .mr-poster { aspect-ratio: 16 / 9; }
  .mr-glyph { font-size: 6rem; max-width: 6.2rem; }
}
</style>
"""

CLOSE_DRAWER = """
if (window.innerWidth <= 768) {
  document.querySelector('[data-testid="stSidebar"] [data-testid="stSidebarCollapseButton"] button')?.click();
}"""
"""On a phone the sidebar covers the page, so it is closed, by clicking its own button, after a choice and when the page
is loaded: the browser remembers an open sidebar."""
