"""What of a header's free text may be repeated: known words only, for some departments type names into any field."""

import re

# Siemens Br38f/3, Canon FC08, Philips YC, GE by use.
KERNEL = re.compile(
    r"[BDHIQTUS][A-Z]?\d\d[A-Z]{0,2}(/\d)?|FC\d\d[A-Z]?|[ABCDEFILSUXY][A-D]?|"
    r"STANDARD|STND|SOFT|SMOOTH|DETAIL|CHEST|ULTRA|EDGE|BONE|BONE ?PLUS|LUNG|BODY|HEAD|BRAIN",
    re.IGNORECASE,
)
MODALITY = re.compile("CR|CT|DX|ES|IO|KO|MG|MR|NM|OP|OT|PR|PT|PX|RF|SC|SM|SR|US|XA|DOC|ECG|REG|RWV|SEG|RT[A-Z]{4,9}")
PHOTOMETRIC = re.compile(r"RGB|ARGB|CMYK|HSV|PALETTE COLOR|YBR_[A-Z_\d]{3,12}")
UNIT = re.compile("HU|US|OD|PCT|MGML|Z_EFF|ED|EDW|HU_MOD|HOUNSFIELD( UNITS?)?", re.IGNORECASE)
UID = re.compile(r"[\d.]{1,64}")
NUMBERS = re.compile(r"[-+\d.,e\[\]()'\\ ]{1,40}|nan|[-+]?inf", re.IGNORECASE)
_AGENTS = frozenset(
    """omnipaque iohexol ultravist iopromide visipaque iodixanol isovue iopamidol iopamiron niopam optiray ioversol
    iomeron iomeprol imeron xenetix iobitridol accupaque solutrast oxilan hexabrix telebrix conray scanlux iopamiro
    gastrografin gastrographin barium iodine iodinated contrast kontrast kontrastmittel km agent medium media ionic non
    nonionic low osmolar applied given injected yes y i v iv oral rectal po pr with and plus ml mg cc bolus venous
    arterial portal intravenous c ce no reaction natrium novalgin""".split()
)


def known(text: str, words: re.Pattern) -> str:
    """A text if all of it is known, else how long it is."""
    return text if words.fullmatch(text) else _length(text)


def agent(text: str) -> str:
    """What a header says of the contrast agent, if all of it is known words and short numbers; else how long it is."""
    parts = re.findall(r"[^\W\d_]+|\d+", text.casefold())
    numbers = [part for part in parts if part.isdigit()]
    short = len(numbers) <= 2 and all(len(number) <= 3 for number in numbers)
    return text if parts and short and all(part in _AGENTS for part in parts if not part.isdigit()) else _length(text)


def without_quotes(sentence: str) -> str:
    """Another library's sentence without what it quotes of a file."""
    return re.sub(r"(['\"]).*\1", lambda found: _length(found[0][1:-1]), sentence)


def _length(text: str) -> str:
    return f"a text of {len(text)} character{'s' * (len(text) != 1)}"
