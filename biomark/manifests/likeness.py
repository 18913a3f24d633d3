"""Texts that a person takes for the same one: the patient 007 of one reader is the 7 of another, and Excel's 7.0."""

import re
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from itertools import permutations

# English and German, whose first three letters Excel writes: 1-Mar, 01. Mrz.
_MONTHS = """january januar jan|february februar|march mrz märz|april|may mai|june juni|july juli|august|september
sept|october oktober|november|december dezember"""
_MONTH_OF = {word: k for k, words in enumerate(_MONTHS.split("|"), start=1) for word in words.split()}
_DIGITS = 28  # Decimal's own; longer numbers would be rounded to the same
_FULL, _NAMED, _TYPED = range(3)


def alike(texts: Iterable[str]) -> dict[str, str]:
    """A key for each text, the same for texts that a person takes for one.

    Capitals, blanks, dashes, accents as one sign or two, zeros in front and Excel's 7.0 make no difference; and where a
    text is a date, neither does what Excel may have made that date of, such as 3-1.
    """
    keys = {text: _plain(text) for text in texts}
    readings = {text: found for text in keys if (found := _readings(text))}
    dates: dict[tuple[int, ...], str] = {}
    for kind in (_FULL, _NAMED, _TYPED):
        for text, (own, numbers) in readings.items():
            if own == kind:
                if kind != _FULL:  # full ones differ by their year
                    keys[text] = next((dates[several] for several in numbers if several in dates), keys[text])
                for several in numbers if kind != _TYPED else ():  # 3-1 and 1-3 are two, where neither is a date
                    dates.setdefault(several, keys[text])
    return keys


def _plain(text: str) -> str:
    """A text without what a person would not notice."""
    signs = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())
    kinds = [(sign, unicodedata.category(sign)) for sign in signs]
    signs = "".join("-" if kind == "Pd" else sign for sign, kind in kinds if kind != "Cf").strip()
    if re.fullmatch(r"\d+(\.\d*)?(e[+-]?\d{1,3})?", signs) and len(signs) <= _DIGITS:
        return str(Decimal(signs).normalize())
    # Between digits a blank or a dash tells 1-1 from 11.
    short = re.sub(r"(?<!\d)-|-(?!\d)", "", re.sub(r"[\s_.-]+", "-", signs))
    return re.sub(r"(?<!\d)0+(?=\d)", "", short) or signs


def _readings(text: str) -> tuple[int, list[tuple[int, ...]]] | None:
    """What kind of date a text is, and the numbers, the month first, that Excel may have made it of; None if none."""
    text = text.casefold()
    if found := re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)(?: [\d:.]+)?", text):
        year, month, day = int(found[1]) % 100, int(found[2]), int(found[3])
        return _FULL, [(month, day), (month, year), (month, day, year)]
    if found := re.fullmatch(r"(\d{0,2})\W*([^\W\d_]{3,})\W*(\d{0,4})", text):
        months = {month for word, month in _MONTH_OF.items() if word.startswith(found[2])}
        numbers = [int(part) % 100 for part in (found[1], found[3]) if part]
        return (_NAMED, [(*months, *numbers)]) if len(months) == 1 and numbers else None
    if found := re.fullmatch(r"(\d{1,2})([-/.])(\d{1,2})(?:\2(\d{2}|\d{4}))?", text):
        numbers = [int(part) % 100 for part in (found[1], found[3], found[4]) if part]
        if len(found[4] or "") == 4:
            return _FULL, [*permutations(numbers[:2]), *permutations(numbers)]
        return _TYPED, [*permutations(numbers)]
    return None
