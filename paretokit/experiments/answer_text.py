r"""The final answer of a solution, and an answer as plain signs: without delimiters, spacing and other notation of LaTeX.

Text comes from models: nothing here raises, and the work is bounded by the length of the text. Imports: the standard library.
"""

import re

__all__ = ["ENDINGS", "final_answer", "plain"]

ENDINGS = ("boxed", "####", "# Answer", "The answer is:")
r"""How solutions end: `\boxed{...}` (MATH), `#### ...` (GSM8K), `# Answer` and a line (PRM800K), `The answer is: ...` with or
without a mark behind it (Math-Shepherd)."""

_BOXED = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])[ \t]*")
_AFTER_HASHES = re.compile(r"^.*####[ \t]*(\S[^\n]*?)[ \t.]*$", re.MULTILINE)
_AFTER_HEADING = re.compile(r"^[ \t]*#[ \t]+Answer[ \t]*:?[ \t]*\n\s*(\S[^\n]*?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_AFTER_WORDS = re.compile(r"\b[Tt]he answer is:[ \t]*(\S[^\n]*?)[ \t]*$", re.MULTILINE)
_MARK = re.compile(r"\s*ки\s*\Z")  # Math-Shepherd's, behind each step
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_SPACING = re.compile(
    r"\\\\|\\[,;:!> ]|\\(?:quad|qquad|thinspace|displaystyle|textstyle|limits|left|right|[bB]ig+[lrm]?)(?![A-Za-z])|~"
)
_KEPT = {"\\!": "", "\\\\": "\\\\"}  # a negative blank joins, and two backslashes end the row of a matrix
_ALL_TEXT = re.compile(  # a formula set as text
    r"\\(?:mbox|text(?:bf|it|rm)?|math(?:rm|bf|it)|boldsymbol|bm)\s*\{([^{}]*[^\w\s{}'-][^{}]*|[^{}]*\d[^{}]*)\}"
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_FRACTIONS = {
    sign: f"\\frac{{{above}}}{{{below}}}" for sign, above, below in zip("½⅓⅔¼¾⅕⅙⅛", "11213111", "23344568", strict=True)
}
_NOTATION = (
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\{([,:])\}"), r"\1"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|\\degree(?![A-Za-z])|°"), ""),
    (re.compile(r"[\u2212\u2013]"), "-"),
    (re.compile(r"[\u00d7\u00b7\u22c5]"), "*"),
    (re.compile(r"÷"), "/"),
)


def final_answer(text: str, *, endings: tuple[str, ...] = ENDINGS) -> str | None:
    r"""Return the final answer of a text, None where it gives none: that of the first of `endings` that is in it, the last one.

    `\boxed{...}` needs its closing brace; without braces, `\boxed 2` holds what follows up to a blank or the formula's end.

    >>> final_answer(r"So \boxed{\frac{1}{2}}."), final_answer("She has 40 + 2 = 42 maps.\n#### 42"), final_answer(r"\boxed{4")
    ('\\frac{1}{2}', '42', None)
    >>> final_answer("So 7.\n\n# Answer\n\n7"), final_answer("Step 2: The answer is: 5 ки"), final_answer(r"is $\boxed 2$.")
    ('7', '5', '2')
    """
    for ending in endings:
        found = _boxed(text) if ending == "boxed" else _FINDERS[ending].findall(text)
        if found:
            answer = found[-1].strip()
            return answer if ending in ("boxed", "# Answer") else _MARK.sub("", answer).rstrip(" .") or None
    return None


_FINDERS = {"####": _AFTER_HASHES, "# Answer": _AFTER_HEADING, "The answer is:": _AFTER_WORDS}


def _boxed(text: str) -> list[str]:
    found = (
        _braced(text, start.end() + 1) if text[start.end() : start.end() + 1] == "{" else _bare(text, start.end())
        for start in _BOXED.finditer(text)
    )
    return [one for one in found if one is not None]


def _braced(text: str, start: int) -> str | None:
    """What stands between a brace that was opened before `start` and the one that closes it; None where none does."""
    depth = 1
    for index in range(start, len(text)):
        escaped = index > 0 and text[index - 1] == "\\"
        depth += 0 if escaped else (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return text[start:index]
    return None


def _bare(text: str, start: int) -> str | None:
    """What stands from `start` to a blank outside of braces, the end of the formula or the end of the sentence."""
    depth, end = 0, start
    while end < len(text):
        sign = text[end]
        if sign == "\\" and text[end : end + 2] not in ("\\)", "\\]"):
            end += 2
            continue
        depth += (sign == "{") - (sign == "}")
        if depth < 0 or sign in "$\n" or text[end : end + 2] in ("\\)", "\\]") or (depth == 0 and sign.isspace()):
            break
        end += 1
    return text[start:end].strip().rstrip(".,;:!") or None


def plain(answer: str) -> str:
    r"""Return an answer without what is notation alone: delimiters, spacing, signs of money and degrees, thousands separators.

    >>> plain(r"$\left( 1{,}000 \right)$"), plain(r"\$1,234.50"), plain(r"90^\circ"), plain("(3,500)")
    ('( 1,000 )', '1234.50', '90', '(3,500)')
    """
    text = answer.strip()
    for opening, closing in _DELIMITERS:
        if text.startswith(opening) and text.endswith(closing) and len(text) >= len(opening) + len(closing):
            text = text[len(opening) : len(text) - len(closing)].strip()
            break
    text = _SPACING.sub(lambda found: _KEPT.get(found.group(), " "), text.replace("\\$", "$"))
    if inside := _ALL_TEXT.fullmatch(text):
        text = inside.group(1)
    for pattern, sign in _NOTATION:
        text = pattern.sub(sign, text)
    text = re.sub("[½⅓⅔¼¾⅕⅙⅛]", lambda found: _FRACTIONS[found.group()], text)
    text = re.sub("[⁻⁰¹²³⁴-⁹]+", _power, text)
    text = text.replace("$", "").strip().removesuffix(".").strip()
    bracketed = text[:1] in ("(", "[", "{") or text.startswith("\\{")
    if not bracketed or re.search(r",\s", text):
        text = _THOUSANDS.sub("", text)
    return re.sub(r"(?<=\d) (?=\d{3}(?!\d))(?![^/]*/)", "", text)


def _power(raised: re.Match[str]) -> str:
    """Raised digits as a power; one digit without braces, so that it may stand inside of a text."""
    digits = raised.group().translate(_RAISED)
    return f"^{digits}" if len(digits) == 1 else f"^{{{digits}}}"
