# Copyright: Contributors to the cloudstack.virtual_router project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Judge a configuration of haproxy, word by word: what `haproxy_words` does not know is refused.

haproxy starts as root and reads its configuration as root. Values that users give end up in it, so this is the last
guard should the server let one through that holds a line break. It reads lines as haproxy does (configuration manual
of haproxy 2.6, section 2.2): a quote, a backslash or a variable of the environment hides no word from it.
To be imported where it is needed: it costs 11 ms, which most converges do not owe.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy import CERTIFICATES
from ansible_collections.cloudstack.virtual_router.plugins.module_utils._plan.haproxy_words import WORDS

Vocabulary = dict[str, dict[str, list[tuple[str, ...]]]]
"""For each place the patterns, by the words that they may begin with; an empty one for kinds of values."""

_PROXIES = ("defaults", "listen", "frontend", "backend")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x0c\x0e-\x1f\x7f]")
_BLANK = " \t\r"
_ESCAPED = {"r": "\r", "n": "\n", "t": "\t", **{sign: sign for sign in " \\#'\"$"}}
_CALL = re.compile(r"""([A-Za-z][\w.+-]*)(?:\((?:[^()"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')*\))?""", re.ASCII)
_TAIL = re.compile(r"_(?:beg|dir|dom|end|len|reg|sub|cnt|val|ip)$")
_COUNTER = re.compile(r"^sc[0-9]_")
_INSIDE = re.compile(r"%(?:\{[^}]*\})?(?:\([^)]*\))?\[")
_CHAINED = re.compile(r",*[A-Za-z][\w.+-]*\(", re.ASCII)
_BRACKETS = re.compile(r"\([\w.,-]*\)", re.ASCII)
_TERM = re.compile(r"!*(?:[\w.:-]+|\|\||)", re.ASCII)
_SECRET = frozenset((("stats", "auth"), ("user",), ("dynamic-cookie-key",)))


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a configuration, and where in the drop it stands."""

    text: str
    where: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A word that nobody may write: where it stands in the drop, and in which keyword's line."""

    where: str
    keyword: str
    word: str

    def __str__(self) -> str:
        return self.word if self.word == self.keyword else f"{self.word} in a line of {self.keyword}"


class WordsError(ValueError):
    """A line of words that were added is not written as `haproxy_words` says: the line, and why."""


class _RefusedError(Exception):
    def __init__(self, at: int, word: str) -> None:
        self.at, self.word = at, word
        super().__init__(at, word)


@lru_cache(maxsize=1)
def _all_places() -> frozenset[str]:
    return frozenset(line.split()[0] for line in WORDS.splitlines() if line)


@lru_cache(maxsize=2)
def vocabulary(more: tuple[str, ...] = ()) -> Vocabulary:
    """Return the words that are known, with lines that were added. Raises WordsError for one that is none."""
    found: Vocabulary = {}
    for line in (*WORDS.splitlines(), *more):
        where, *pattern = line.split() or ("",)
        if not where or where.startswith("#"):
            continue
        if where in ("fetch", "convert"):
            found.setdefault(where, {}).update({name: [] for name in pattern})
            continue
        if where not in _all_places() or not pattern or not all(map(_known, pattern)):
            raise WordsError(line)
        firsts = [""] if pattern[0] in VALUES else pattern[0].split("|")
        for first in firsts:
            found.setdefault(where, {}).setdefault(first, []).append(tuple(pattern))
    return found


def _known(part: str) -> bool:
    """Tell whether a part of a pattern is one: capitals must be a kind of value, braces a group."""
    if part.startswith("{"):
        return part[1:-1] in _all_places() and part.endswith("}")
    name = part.removesuffix("?")
    return not re.fullmatch(r"[A-Z]+", name) or name in VALUES


def words(text: str) -> list[str]:
    """Return the words of a line as haproxy takes them, without its comment.

    Raises _RefusedError for what would make others of them: a variable of the environment, a quote that is left open.
    """
    found, word, quote, at = list[str](), None, "", 0
    while at < len(text):
        sign, after = text[at], text[at + 1 : at + 2]
        at += 1
        if quote and sign == quote:
            quote = ""
        elif quote == "'" or (quote and sign == "'"):
            word = (word or "") + sign
        elif sign == "\\" and after == "x" and re.fullmatch(r"[0-9A-Fa-f]{2}", text[at + 1 : at + 3]):
            word, at = (word or "") + chr(int(text[at + 1 : at + 3], 16)), at + 3
        elif sign == "\\" and after in _ESCAPED and after:
            word, at = (word or "") + _ESCAPED[after], at + 1
        elif quote and sign == "$":
            raise _RefusedError(len(found), "a variable of the environment")
        elif quote:
            word = (word or "") + sign
        elif sign in "'\"":
            quote, word = sign, word or ""
        elif sign == "#":
            break
        elif sign in _BLANK:
            found, word = (found if word is None else [*found, word]), None
        else:
            word = (word or "") + sign
    if quote:
        raise _RefusedError(len(found), "a quote that is left open")
    return found if word is None else [*found, word]


class Guard:
    """Judge configurations; `own` are the addresses of this router, which no server may have."""

    def __init__(self, own: Iterable[IPv4Address] = (), more: tuple[str, ...] = ()) -> None:
        self._own = frozenset(own)
        self._known = vocabulary(more)

    def refusal(self, lines: Iterable[Line]) -> Refusal | None:
        """Return the first word that is refused, None when there is none."""
        section = ""
        for line in lines:
            try:
                found = self._words(line.text)
            except _RefusedError as error:
                return Refusal(line.where, error.word, error.word)
            if not found:
                continue
            titled = found[0] in self._known["section"]
            place = "section" if titled else section
            try:
                if not self._begins(place, found[0]):
                    return Refusal(line.where, found[0], found[0])
                self._line(place, found)
            except _RefusedError as error:
                return _told(line, found, error.word)
            if titled:
                section = "proxy" if found[0] in _PROXIES else found[0]
        return None

    def _words(self, text: str) -> list[str]:
        if _CONTROL.search(text):
            raise _RefusedError(0, "a control character")
        found = words(text)
        if found and found[0] != text.split(maxsplit=1)[0]:
            raise _RefusedError(0, "a keyword in quotes")
        return found

    def _begins(self, place: str, word: str) -> bool:
        return word in self._known.get(place, {}) or (word in ("no", "default") and place == "proxy")

    def _line(self, place: str, found: Sequence[str]) -> None:
        """Raise _RefusedError, with the word that no pattern gets beyond, unless one takes the whole line."""
        skipped = 1 if place == "proxy" and found[0] in ("no", "default") and found[1:2] == ["option"] else 0
        best = _RefusedError(-1, "")
        for pattern in self._known[place].get(found[skipped], ()):
            try:
                end = self._take(pattern, found, skipped)
                if end == len(found):
                    return
                raise _RefusedError(end, found[end])
            except _RefusedError as error:
                best = max(best, error, key=lambda refused: refused.at)
        raise best

    def _take(self, pattern: Iterable[str], found: Sequence[str], at: int) -> int:
        """Return where a pattern ends; raises _RefusedError with the word that it does not take."""
        for part in pattern:
            name = part.removesuffix("?")
            if part.startswith("{"):
                at = self._options(part[1:-1], found, at)
            elif name == "IF":
                self._condition(found, at)
                at = len(found)
            elif name == "TESTS":
                self._tests(found, at, len(found))
                at = len(found)
            else:
                wrong = self._wrong(name, found[at]) if at < len(found) else "nothing more"
                if wrong and part == name:
                    raise _RefusedError(at, wrong)
                at += not wrong
        return at

    def _options(self, group: str, found: Sequence[str], at: int) -> int:
        known = self._known[group]
        while at < len(found):
            patterns = known.get(found[at], known.get("", ()))
            best, end = _RefusedError(-1, ""), at
            for pattern in patterns:
                try:
                    end = self._take(pattern, found, at)
                    break
                except _RefusedError as error:
                    best = max(best, error, key=lambda refused: refused.at)
            if end == at:
                if best.at > at:
                    raise best
                return at
            at = end
        return at

    def _wrong(self, name: str, word: str) -> str:
        """Return what in a word is not what a pattern's part wants, nothing when all is."""
        if name == "EXPR":
            return self._expression(word, whole=True)
        if name == "TEXT":
            return self._text(word)
        if name == "MACHINE":
            return "" if self._machine(word) else word
        if name in VALUES:
            return "" if VALUES[name](word) else word
        return "" if any(_literal(choice, word) for choice in name.split("|")) else word

    def _text(self, word: str) -> str:
        """Return what is refused of a text: each `%[…]` in it is an expression wherever haproxy looks for one."""
        for match in _INSIDE.finditer(word):
            wrong = self._expression(word[match.end() :], whole=False)
            if wrong:
                return wrong
        return ""

    def _expression(self, text: str, *, whole: bool, kind: str = "fetch") -> str:
        """Return what is refused of an expression: a fetch and converters, with commas between (chapter 7)."""
        at = 0
        while match := _CALL.match(text, at):
            name = _COUNTER.sub("sc_", match[1])
            known = self._known[kind]
            if name not in known and (kind == "convert" or _TAIL.sub("", name) not in known):
                return match[1]
            at, kind = match.end(), "convert"
            if text[at : at + 1] != ",":
                break
            at += 1
        if at and (at == len(text) if whole else text[at : at + 1] == "]"):
            return "" if text[at - 1 : at] != "," else text
        return text

    def _tests(self, found: Sequence[str], at: int, end: int) -> None:
        """Judge expression, flags and patterns of an acl (section 7.1); a converter may be a word of its own."""
        if at >= end:
            raise _RefusedError(at, "nothing more")
        wrong = self._expression(found[at], whole=True)
        if wrong:
            raise _RefusedError(at, wrong)
        at += 1
        while at < end and _CHAINED.match(found[at]):
            wrong = self._expression(found[at].lstrip(","), whole=True, kind="convert")
            if wrong:
                raise _RefusedError(at, wrong)
            at += 1
        while at < end and found[at].startswith("-"):
            flag = found[at]
            if flag not in ("-i", "-n", "-m", "-u", "--"):
                raise _RefusedError(at, flag)
            at += 2 if flag in ("-m", "-u") else 1
            if flag == "--":
                break
        for number in range(at, end):
            if found[number] in ("-f", "-M"):
                raise _RefusedError(number, found[number])

    def _condition(self, found: Sequence[str], at: int) -> None:
        if at == len(found):
            return
        if found[at] not in ("if", "unless") or at + 1 == len(found):
            raise _RefusedError(at, found[at])
        at += 1
        while at < len(found):
            if found[at].lstrip("!") == "{":
                if "}" not in found[at:]:
                    raise _RefusedError(at, found[at])
                end = found.index("}", at)
                self._tests(found, at + 1, end)
                at = end
            elif not _TERM.fullmatch(found[at]):
                raise _RefusedError(at, found[at])
            at += 1

    def _machine(self, word: str) -> bool:
        """Tell whether a server is another machine: not this router, by whichever address."""
        ip = _address(word.removeprefix("ipv4@").partition(":")[0])
        port = word.removeprefix("ipv4@").partition(":")[2]
        if ip is None or ip in self._own or not re.fullmatch(r"\d*", port, re.ASCII) or word.endswith(":"):
            return False
        return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved)


def _told(line: Line, found: Sequence[str], word: str) -> Refusal:
    hidden = any(tuple(found[: len(secret)]) == secret for secret in _SECRET)
    keyword = " ".join(found[: 2 if len(found) > 2 else 1])
    return Refusal(line.where, found[0] if hidden else keyword, "a word" if hidden else word)


def _literal(choice: str, word: str) -> bool:
    if choice.endswith("(…)"):
        name = choice.removesuffix("(…)")
        return word.startswith(name) and _BRACKETS.fullmatch(word, len(name)) is not None
    return word == choice


def _address(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _places(word: str) -> bool:
    """Tell whether a `bind` listens on addresses and ports only: no socket file, no name, no descriptor."""
    return all(map(_place, word.split(",")))


def _place(place: str) -> bool:
    if sixth := re.fullmatch(r"\[([0-9A-Fa-f:.]+)\]:\d+", place, re.ASCII):
        try:
            return not IPv6Address(sixth[1]).is_unspecified
        except ValueError:
            return False
    match = re.fullmatch(r"(?:ipv4@)?([0-9.]*|\*):\d+(?:-\d+)?", place, re.ASCII)
    return match is not None and (match[1] in ("", "*") or _address(match[1]) is not None)


def _of(pattern: str) -> Callable[[str], bool]:
    # Compiled when it is needed first, and kept by re: most converges need none.
    return lambda word: re.fullmatch(pattern, word, re.ASCII) is not None


VALUES: dict[str, Callable[[str], bool]] = {
    "NUMBER": _of(r"\d+"),
    "TIME": _of(r"\d+(?:us|ms|s|m|h|d)?"),
    "SIZE": _of(r"\d+[kmgKMG]?"),
    "NAME": _of(r"[\w.:+-]+"),
    "NAMES": _of(r"[\w.,:+-]+"),
    "COOKIE": _of(r"[\w.$-]+"),
    "CIPHERS": _of(r"[\w:,+!@=.-]+"),
    "PROTOCOLS": _of(r"[\w./,-]+"),
    "MIME": _of(r"[\w.+*-]+(?:/[\w.+*-]+)?"),
    "STORED": _of(r"[\w.,()]+"),
    "TRACKED": _of(r"[\w.:-]+(?:/[\w.:-]+)?"),
    "NETWORK": _of(r"[0-9A-Fa-f.:]+(?:/\d+)?"),
    "RETRIES": _of(r"[a-z0-9-]+"),
    "LOGGER": _of(r"127\.0\.0\.1(?::\d+)?|/dev/log"),
    "FACILITY": _of(r"kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|auth2|ftp|ntp|audit|alert|cron2|local[0-7]"),
    "LEVEL": _of(r"emerg|alert|crit|err|warning|notice|info|debug|silent"),
    "SOCKET": _of(r"/(?:var/)?run/haproxy(?:/[\w-]+)?\.sock(?:et)?"),
    "MODE": _of(r"0?6[046]0"),
    "CERTIFICATE": _of(rf"{re.escape(CERTIFICATES)}/[\w-][\w.-]*\.pem"),
    "PLACES": _places,
    # These look at more than the word, see Guard.
    **{name: lambda _word: False for name in ("EXPR", "TEXT", "MACHINE", "TESTS", "IF")},
}
"""The kinds of values that patterns may name, with what tells whether a word is one."""
