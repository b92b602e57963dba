"""Text from outside: its encoding, its line ends, and letters that nobody can see."""

import codecs
import unicodedata

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the first half of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Byte order mark, zero width space, word joiner, soft hyphen; marks of the direction of writing. Joiners stay: composed
# emoji and letters of some scripts are made with them.
INVISIBLE = dict.fromkeys(
    [0xFEFF, 0x200B, 0x2060, 0xAD, 0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
SPACES = ("Zs", "Zl", "Zp")  # categories of spaces and line separators


class TextProblem(ValueError):
    """Why a text cannot be used; `line` is where, counted from 1, or None."""

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message)
        self.line = line


def decode_text(content: bytes) -> str:
    """Text of a file in UTF-8, or in UTF-16 or UTF-32 with a byte order mark; line ends become a newline.

    Raises:
        TextProblem: any other encoding. No guess is made: the same bytes are other letters in each code page.
    """
    mark, encoding = next((one for one in MARKS if content.startswith(one[0])), (b"", "utf-8"))
    content = content[len(mark) :]
    if not mark and (found := content.find(b"\0")) >= 0:
        at = content.count(b"\n", 0, found) + 1
        raise TextProblem("holds a zero byte, as UTF-16 without a byte order mark does; save the file as UTF-8", at)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1 if encoding == "utf-8" else None
        byte = content[error.start]
        raise TextProblem(f"is not {encoding.upper()} (byte 0x{byte:02x}); save the file as UTF-8", line) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def clean_text(text: str) -> str:
    """One line of text: letters composed, invisible letters dropped, line breaks, tabs and wide spaces as a space.

    Raises:
        TextProblem: control characters, halves of letters, or U+FFFD, the mark of letters that were lost earlier.
    """
    for letter in text:
        kind = unicodedata.category(letter)
        if (kind == "Cc" and letter not in "\t\n\r") or kind == "Cs":
            raise TextProblem(f"holds the control character U+{ord(letter):04X}; remove it")
        if letter == "\ufffd":
            raise TextProblem("holds U+FFFD, which stands for a letter that was lost; write the text again")
    text = unicodedata.normalize("NFC", text.translate(INVISIBLE))
    text = "".join(" " if unicodedata.category(letter) in SPACES else letter for letter in text).strip()
    return " ".join(text.split()) if any(letter in text for letter in "\t\n\r") else text
