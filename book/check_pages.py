"""Open every page of the built book as a reader would, from disk and without a network, and say what is wrong.

Run it as `make check-pages` after `make book`. A page fails for an error in the console, a file or link that leads
nowhere, an image that does not show, anything fetched from the network, a slider or widget that is missing or does not
move its picture, a page too heavy or wider than a phone, and what axe-core calls a serious fault of accessibility.
A chapter also fails when its first picture begins more than a screen below the title, or when code, an equation or an
output has to be scrolled sideways.
Where no browser is found it says so and checks nothing. `--shots FOLDER` also takes pictures of all pages.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
)
DESKTOP, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}
FIRST_PICTURE_PX = 1000
"""From the top of a chapter's title to its first picture, at most: one screen."""
HEAVIEST_MB = 3.0
"""A page with its pictures; what all pages share (theme, equations, widgets) is loaded once and not counted."""

LOOK = """() => {
  const all = what => [...document.querySelectorAll(what)];
  const outermost = e => !e.parentElement.closest('.jupyter-widgets');
  return {
    ids: all('[id], a[name]').map(e => e.id || e.name),
    links: all('a[href]').map(e => e.href),
    dark: all('img[src]').filter(e => e.complete && !e.naturalWidth).map(e => e.alt || e.src),
    views: all('script[type="application/vnd.jupyter.widget-view+json"]').length,
    shown: all('.jupyter-widgets').filter(outermost).length,
  };
}"""

FIRST_PICTURE = """() => {
  const article = document.querySelector('article');
  const title = article.querySelector('h1'), picture = article.querySelector('img');
  const top = e => e.getBoundingClientRect().top;
  return picture && Math.round(top(picture) - top(title));
}"""
"""Pixels from the top of the title to the first picture; null if there is none."""

SIDEWAYS = """() => {
  const article = document.querySelector('article');
  const kinds = 'pre, mjx-container, div.math, .cell_output, .cell_output *';
  const scrolls = e => e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1
    && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  return [...article.querySelectorAll(kinds)].filter(scrolls).map(e => {
    const kind = e.closest('.cell_output') ? 'output' : e.matches('pre') ? 'code'
      : 'equation';
    const words = e.textContent.trim().replace(/\\s+/g, ' ').slice(0, 60);
    return `${kind} of ${e.scrollWidth} in ${e.clientWidth} pixels: ${words}`;
  });
}"""
"""What has to be scrolled sideways to be read."""

KNOWN = ("Identifier 'THEBE_JS_URL' has already been declared",)
"""Faults that change nothing on a page: the theme writes one constant twice, for a feature that is switched off."""


def open_browser(playwright) -> Browser | None:
    """Start Playwright's own Chromium, or one that is installed; None where there is none."""
    for path in [None, *filter(None, map(shutil.which, BROWSERS))]:
        try:
            return playwright.chromium.launch(executable_path=path)
        except Error as error:
            reason = error.message.splitlines()[0]
    print(f"No browser could be started ({reason})")
    return None


def is_chapter(file: Path) -> bool:
    """Whether a page is made from a notebook."""
    return file.parent == SITE / "book" and notebook_of(file.stem).is_file()


def notebook_of(name: str) -> Path:
    return ROOT / "book" / f"{name}.ipynb"


def far_picture(page: Page, file: Path) -> list[str]:
    """Whether a chapter's first picture is too far down while folded cells are closed."""
    if not is_chapter(file):
        return []
    page.evaluate("window.MathJax?.startup?.promise")
    distance = page.evaluate(FIRST_PICTURE)
    if distance is None:
        return ["the chapter has no picture"]
    if distance > FIRST_PICTURE_PX:
        limit = f"{FIRST_PICTURE_PX} at most"
        return [
            f"the first picture begins {distance} pixels below the title, {limit}"
        ]
    return []


def sliders_of(name: str) -> int:
    """How many displays of sliders the notebook of a page makes."""
    notebook = notebook_of(name)
    if not notebook.is_file():
        return 0
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return sum(
        "".join(c["source"]).count("sliders.frames(")
        for c in cells
        if c["cell_type"] == "code"
    )


def try_sliders(page: Page) -> list[str]:
    """Move every slider through all its positions; the picture beside it must follow."""
    faults = []
    for slider in page.locator(
        ".jupyter-widgets [role=slider], .biomark-frames input[type=range]"
    ).all():
        whole = slider.locator(
            "xpath=ancestor::*[contains(@class, 'widget-vbox') or contains(@class, 'biomark-frames')]"
        )
        picture = whole.last.locator("img:visible")
        name = (
            slider.get_attribute("aria-label")
            or whole.last.inner_text().split("\n")[0].strip()
            or "a slider"
        )
        at_first = picture.first.get_attribute("src")
        slider.focus()
        slider.press("Home")
        seen = [picture.first.get_attribute("src")]
        for _ in range(200):  # more than any slider has
            slider.press("ArrowRight")
            for _ in range(20):  # a widget follows a moment after the key
                alone = picture.count() == 1
                if alone and picture.get_attribute("src") != seen[-1]:
                    break
                page.wait_for_timeout(50)
            if picture.count() != 1:
                faults.append(
                    f"slider {name!r}: {picture.count()} pictures at once"
                )
                break
            if picture.get_attribute("src") == seen[-1]:
                break
            seen.append(picture.get_attribute("src"))
        if len(set(seen)) < 2:
            faults.append(f"slider {name!r}: the picture does not follow")
        # Back to where it stood: elsewhere another slider may have nothing to show.
        for _ in seen:
            if picture.first.get_attribute("src") == at_first:
                break
            slider.press("ArrowLeft")
            page.wait_for_timeout(100)
    return faults


def serious(page: Page) -> list[dict]:
    """What axe-core calls serious or critical."""
    found = Axe().run(page, options={"preload": False}).response["violations"]
    return [
        violation
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


def listen(page: Page, faults: list[str], loaded: set[Path]) -> None:
    """Collect what goes wrong while a page is open, and the files that it loads."""

    def console(message) -> None:
        if message.type == "error":
            faults.append(f"console: {message.text}")

    def script(error) -> None:
        if error.message not in KNOWN:
            faults.append(f"script: {error.message}")

    def request(r) -> None:
        parts = urlsplit(r.url)
        if parts.scheme == "file":
            loaded.add(Path(unquote(parts.path)))
        elif parts.scheme not in ("data", "blob", "about"):
            faults.append(f"fetched from the network: {r.url[:120]}")

    page.on("console", console)
    page.on("pageerror", script)
    page.on("requestfailed", lambda r: faults.append(f"not loaded: {r.url[:120]}"))
    page.on("request", request)


def unfold(page: Page) -> None:
    """Open what is folded, and wait for all pictures and widgets."""
    lazy = "img[loading=lazy]"
    page.evaluate(
        "document.querySelectorAll('details').forEach(e => e.open = true)"
    )
    page.evaluate(
        f"document.querySelectorAll('{lazy}').forEach(e => e.loading = 'eager')"
    )
    page.wait_for_function("[...document.images].every(e => e.complete)")
    view = "script[type='application/vnd.jupyter.widget-view+json']"
    shown = "document.querySelectorAll('.jupyter-widgets').length"
    awaited = page.locator(view).count()
    try:
        page.wait_for_function(f"{shown} >= {awaited}", timeout=20_000)
    except Error:
        pass  # a missing widget is named by `check`


def check(
    page: Page, file: Path, ids: dict[Path, set[str]], links: dict[str, list[str]]
) -> tuple[list[str], str]:
    """Look at one page; its links and the places they may lead to are kept for later."""
    faults, loaded = [], {file}
    listen(page, faults, loaded)
    page.goto(file.as_uri(), wait_until="load")
    faults += far_picture(page, file)
    unfold(page)
    if is_chapter(file):
        faults += [f"scrolls sideways: {what}" for what in page.evaluate(SIDEWAYS)]
    found = page.evaluate(LOOK)
    ids[file] = set(found["ids"])
    links[str(file.relative_to(SITE))] = found["links"]
    faults += [f"no picture: {which[:120]}" for which in found["dark"]]
    wanted = max(
        sliders_of(file.stem) if file.parent.name == "book" else 0, found["views"]
    )
    if found["shown"] + page.locator(".biomark-frames").count() < wanted:
        faults.append(f"{found['shown']} of {wanted} widgets are there")
    faults += try_sliders(page)
    weight = (
        sum(
            p.stat().st_size
            for p in loaded
            if p.is_file() and "_static" not in p.parts
        )
        / 1e6
    )
    if weight > HEAVIEST_MB:
        faults.append(f"weighs {weight:.1f} MB, {HEAVIEST_MB:g} at most")
    if (
        file.parent != SITE / "book"
    ):  # listings of the code, search and indexes are Sphinx's own
        return faults, f"{weight:.1f} MB"
    # Colours may still be changing at the first look: what a second one does not find is no fault.
    for violation in serious(page) and serious(page):
        places = "; ".join(
            " ".join(n["target"][0])
            if isinstance(n["target"][0], list)
            else n["target"][0]
            for n in violation["nodes"][:3]
        )
        faults.append(
            f"axe {violation['id']}: {violation['help']} ({len(violation['nodes'])}: {places})"
        )
    return faults, f"{weight:.1f} MB, {wanted} widgets"


def lead_nowhere(
    links: dict[str, list[str]], ids: dict[Path, set[str]]
) -> dict[str, list[str]]:
    """The links within the site whose file or place does not exist, by page."""
    faults = {}
    for page, targets in links.items():
        for target in sorted(set(targets)):
            address, place = urldefrag(target)
            parts = urlsplit(address)
            file = Path(unquote(parts.path))
            if parts.scheme != "file":
                continue
            if not file.is_file():
                faults.setdefault(page, []).append(f"link to no file: {target}")
            elif place and file in ids and unquote(place) not in ids[file]:
                faults.setdefault(page, []).append(f"link to no place: {target}")
    return faults


def main() -> int:
    """Check all pages and print a line for each; return 1 when there are faults."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "pages", nargs="*", type=Path, help="only these files (all by default)"
    )
    parser.add_argument(
        "--shots", type=Path, help="folder for pictures of the pages at both widths"
    )
    asked = parser.parse_args()
    # Listings of source code are Sphinx's own pages; that links to them lead somewhere is seen all the same.
    # The first page only sends on to the book's, and would be gone before it is looked at.
    own = [
        p
        for p in sorted(SITE.rglob("*.html"))
        if not {"_static", "_modules"} & set(p.parts) and p.parent != SITE
    ]
    files = [p.resolve() for p in asked.pages] or own
    if not files:
        print(f"there are no pages in {SITE}: run `make book` first.")
        return 1
    for path in files:
        if not (path.is_relative_to(SITE) and path.is_file()):
            print(f"{path} is not a page of the built book: name files in {SITE}.")
            return 1
    ids: dict[Path, set[str]] = {}
    links: dict[str, list[str]] = {}
    results: dict[str, list[str]] = {}
    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        if browser is None:
            print(
                "SKIPPED: the pages were not looked at. Install Chromium, or run `playwright install chromium`."
            )
            return 0
        for file in files:
            name = str(file.relative_to(SITE))
            context = browser.new_context(
                offline=True, viewport=DESKTOP, reduced_motion="reduce"
            )
            page = context.new_page()
            page.set_default_timeout(120_000)  # ms; a machine may be busy
            results[name], about = check(page, file, ids, links)
            if asked.shots:
                shoot(page, asked.shots / f"{file.stem}-desktop.png")
            page.set_viewport_size(PHONE)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > PHONE["width"] + 1:
                results[name].append(
                    f"{wide} pixels wide on a phone of {PHONE['width']}"
                )
            if asked.shots:
                shoot(page, asked.shots / f"{file.stem}-phone.png")
            context.close()
            print(f"{name}: {about}, {len(results[name])} faults", flush=True)
        browser.close()
    for name, faults in lead_nowhere(links, ids).items():
        results[name] += faults
    for name, faults in results.items():
        for fault in faults:
            print(f"FAULT {name}: {fault}")
    bad = sum(map(bool, results.values()))
    print(f"{len(results) - bad} passed, {bad} failed")
    return int(bad > 0)


def shoot(page: Page, path: Path) -> None:
    """Take a picture of the whole page at rest: from its top, nothing in focus, no sidebar on its way out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.evaluate("document.activeElement?.blur(); window.scrollTo(0, 0)")
    page.screenshot(path=path, full_page=True, animations="disabled")


if __name__ == "__main__":
    sys.exit(main())
