"""Say what is wrong with a scan without its paths, since a folder or a file may be named after the patient."""

from __future__ import annotations

import os
import re
from pathlib import Path


def anonymous(error: Exception, image: Path | None, mask: Path | None = None) -> str:
    """The reason why a scan cannot be used, without any of its paths; files get numbers: "file 3 of the image".

    ``image`` is a file or a folder, None where the sheet gives no path that could be opened; ``mask`` its mask, if any.
    """
    if image is None:
        return "The row cannot be used: bm.manifests.check says why."
    reason = f"{error}" if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    words: dict[str, str] = {}  # by pattern
    for path, what in ((image, "the image"), (mask, "the mask")):
        if path is None:
            continue
        # The sentence about a path that is gone would name its neighbours.
        if not os.path.exists(path):
            return f"{what} can no longer be opened: see whether it was moved or closed, then try again."
        inside = _inside(path, what)
        for own in {path, path.absolute(), path.resolve()}:
            folders = own.parents if own.is_absolute() else ()
            words |= {_pattern(str(folder)): "a folder" for folder in folders if folder != folder.parent}
            words |= {_pattern(str(own)): what} | {_pattern(str(own / name)): word for name, word in inside.items()}
        # A single letter or a short number names nobody, and a word, such as CT, means something else in a sentence.
        alone = {name: word for name, word in inside.items() if not re.fullmatch(r".|\d{1,3}", name)}
        if path.is_file() and not path.name.isalpha():  # libraries may quote a file's name alone
            alone[path.name] = what
        words |= {rf"(?<![\w./-]){_pattern(name)}": word for name, word in alone.items()}
    # The longest first, for a folder's path begins that of its files.
    longest = sorted(words, key=len, reverse=True)
    pattern = re.compile("|".join(f"({part})(?![\\w-])" for part in longest))
    reason = pattern.sub(lambda found: words[longest[(found.lastindex or 1) - 1]], reason)
    return re.sub(r"(the image|the mask)/[^\s'\"]+", r"a file of \1", reason)


def _pattern(text: str) -> str:
    """A name as sentences may hold it: as it is, as ScanError writes what cannot be printed, and quoted by ``repr``."""
    printable = "".join(sign if sign.isprintable() else "?" for sign in text)
    forms = {text, printable, repr(text)[1:-1], ascii(text)[1:-1], repr(os.fsencode(text))[2:-1]}
    return "(?:" + "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)) + ")"


def _inside(path: Path, what: str) -> dict[str, str]:
    """A word such as "file 3 of the image" for each name in a folder."""
    try:
        names = sorted(os.listdir(path)) if path.is_dir() else []
    except OSError:
        return {}
    return {
        name: f"{'folder' if (path / name).is_dir() else 'file'} {number} of {what}"
        for number, name in enumerate(names, start=1)
    }
