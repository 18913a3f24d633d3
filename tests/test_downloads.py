"""The book to take along: what the front page offers is what the publishing workflow makes."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book"))
import downloads  # noqa: E402


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["downloads.py", *map(str, words)])
    return downloads.main()


def test_the_zip_unpacks_into_one_folder_of_pages(tmp_path, monkeypatch):
    site, page = tmp_path / "html", tmp_path / "html" / "book" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<h1>A page</h1>")
    (site / "index.html").write_text("")
    assert run(monkeypatch, "zip", "--site", site, "--into", tmp_path) == 0
    with zipfile.ZipFile(tmp_path / "biomark.zip") as packed:
        assert packed.namelist() == ["biomark/book/index.html", "biomark/index.html"]
        assert packed.read("biomark/book/index.html") == page.read_bytes()


def test_without_pages_or_a_browser_a_sentence_says_what_to_do(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "zip", "--site", tmp_path / "none") == 1
    assert "run `make book` first" in capsys.readouterr().out
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "index.html").write_text("")
    monkeypatch.setattr(downloads, "bind", lambda site, into: None)
    assert run(monkeypatch, "pdf", "--site", tmp_path) == 1
    assert "Install Chromium" in capsys.readouterr().out


def test_the_front_page_links_to_what_the_workflow_publishes():
    front = (ROOT / "book" / "index.md").read_text()
    workflow = (ROOT / ".github" / "workflows" / "book.yml").read_text()
    for kind in ("zip", "pdf"):
        assert f"]({downloads.SITE}/{downloads.NAME}.{kind})" in front
        assert f"_build/{downloads.NAME}.{kind}" in workflow
