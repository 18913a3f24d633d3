"""Make the whole book one file: `zip` packs the built pages, `pdf` prints them with a browser and joins the prints.

Run it as `make zip` and `make pdf` after `make book`; `--site` and `--into` name other folders. In the PDF solutions are
open, the code of folded cells is left out, and links between pages lead to the site.
"""

import argparse
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from colab import NAME, SITE, pages

BUILT = Path(__file__).resolve().parent.parent / "_build"

PREPARE = """([folder, site]) => {
  document.documentElement.dataset.theme = 'light';
  for (const image of document.images) image.loading = 'eager';
  for (const part of document.querySelectorAll('details')) part.open = true;
  const here = location.href.split('#')[0];
  for (const link of document.querySelectorAll('a[href]')) {
    if (link.href.startsWith(folder) && !link.href.startsWith(here)) {
      link.href = site + link.href.slice(folder.length);
    }
  }
}"""
"""What a page needs before it is printed; its links to itself stay as they are."""

SETTLED = "[...document.images].every(image => image.complete)"


def pack(site: Path, into: Path) -> Path:
    """Pack the pages into a folder of one name."""
    file = into / f"{NAME}.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(p for p in site.rglob("*") if p.is_file()):
            packed.write(path, Path(NAME) / path.relative_to(site))
    return file


def printed(site: Path) -> Iterator[tuple[str, bytes]]:
    """Print all pages of `_toc.yml` that are there, and yield title and PDF of each; none where there is no browser."""
    from playwright.sync_api import sync_playwright

    from check_pages import open_browser

    foot = (
        '<div style="font-size: 8px; width: 100%; text-align: center">'
        '<span class="title"></span> · <span class="pageNumber"></span></div>'
    )
    with sync_playwright() as playwright:
        browser = open_browser(playwright)
        if browser is None:
            return
        for name in pages():
            file = (site / "book" / f"{name}.html").resolve()
            if not file.is_file():
                continue
            context = browser.new_context(offline=True, reduced_motion="reduce")
            page = context.new_page()
            page.set_default_timeout(120_000)  # ms; a machine may be busy
            page.goto(file.as_uri(), wait_until="load")
            page.emulate_media(media="print", color_scheme="light")
            page.evaluate(PREPARE, [site.resolve().as_uri(), SITE])
            page.evaluate("window.MathJax?.startup?.promise")
            page.wait_for_function(SETTLED)
            margin = {
                "top": "15mm",
                "bottom": "18mm",
                "left": "12mm",
                "right": "12mm",
            }
            yield (
                page.locator("h1").first.inner_text().rstrip("#\n "),
                page.pdf(
                    format="A4",
                    margin=margin,
                    scale=0.75,
                    print_background=True,
                    display_header_footer=True,
                    header_template="<span></span>",
                    footer_template=foot,
                ),
            )
            context.close()
        browser.close()


def bind(site: Path, into: Path) -> Path | None:
    """Join the prints of all pages, with their titles as an outline; None where nothing could be printed."""
    from pypdf import PdfReader, PdfWriter

    book, file = PdfWriter(), into / f"{NAME}.pdf"
    for title, made in printed(site):
        print(f"{title}: from page {len(book.pages) + 1}", flush=True)
        book.append(PdfReader(io.BytesIO(made)), outline_item=title)
    if not book.pages:
        return None
    book.add_metadata({"/Title": NAME})
    book.write(file)
    return file


def main() -> int:
    """Make what is asked for; return 1, with a sentence that says why, when there is no such file afterwards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["zip", "pdf"])
    parser.add_argument("--site", type=Path, default=BUILT / "html")
    parser.add_argument("--into", type=Path, default=BUILT)
    asked = parser.parse_args()
    if not (asked.site / "book" / "index.html").is_file():
        print(f"there are no pages in {asked.site}: run `make book` first.")
        return 1
    file = {"zip": pack, "pdf": bind}[asked.kind](asked.site, asked.into)
    if file is None:
        print(
            "No PDF was made: it is printed by a browser. Install Chromium, or run `playwright install chromium`."
        )
        return 1
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
