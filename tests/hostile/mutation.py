"""Bounds checks of a C file and their deletion, one at a time: text in, text out."""

import dataclasses
import re

# What makes a condition a check of bounds: a comparison, arithmetic on sizes, or a helper that does it.
BOUNDS = re.compile(r"[^-<>=!]=?[<>]=?[^<>]|[=!]=|[^&]&[^&]|%|_(within|overlaps|overflow|check|acceptable|claims)\b"
                    r"|\b(is_power_of_two|wraps|usable|span_holds)\(")
# The host's failures are another matter: results below zero, failed mappings. Nor are
# names bounds.
FAILURE = re.compile(r"(< 0|== MAP_FAILED)$|\bstrcmp\(")
LEAVES = re.compile(r"\b(return|break|continue|goto)\b")
# What lets pass when it holds: an index below its end.
GUARD = re.compile(r"[^-<]<=?[^<]|_(within|claims)\(")
PREDICATE = re.compile(r"^(static )?(inline )?bool \w+\(")


@dataclasses.dataclass(frozen=True)
class Check:
    """One operand of a condition: where it stands, and what stands in its place when it is deleted."""
    start: int
    end: int
    line: int
    text: str
    neutral: str  # "0 &&" where it leads away, "1 ||" where it lets pass

    def deleted(self, source):
        """The file without it; still evaluated by the compiler, so nothing becomes unused."""
        return f"{source[:self.start]}({self.neutral} ({self.text})){source[self.end:]}"


def blank(source):
    """The same length without comments and the insides of strings."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match[0])
    return re.sub(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\\n])*\"|'(\\.|[^'\\\n])+'", spaces, source, flags=re.S)


def closing(text, at):
    """The index of the parenthesis that closes the one at `at`."""
    depth = 0
    for index in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if not depth:
            return index
    raise ValueError("unbalanced parentheses")


def operands(text, start, end, operator):
    """(start, end) of the operands that the operator joins at the top level of text[start:end]."""
    depth, begin = 0, start
    for index in range(start, end):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(text[index], 0)
        if not depth and text.startswith(operator, index):
            yield begin, index
            begin = index + len(operator)
    yield begin, end


def trimmed(text, start, end):
    """Without the white space about it."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def unwrapped(text, start, end):
    """Inside of __builtin_expect(X, n), whose X is what counts."""
    start, end = trimmed(text, start, end)
    prefix = "__builtin_expect("
    if text.startswith(prefix, start) and closing(text, start + len(prefix) - 1) == end - 1:
        inner = list(operands(text, start + len(prefix), end - 1, ","))[0]
        return trimmed(text, *inner)
    return start, end


def body_of(text, after):
    """The statement or block that an if leads to."""
    rest = text[after:].lstrip()
    if not rest.startswith("{"):
        return rest.split(";")[0]
    return rest[:rest.find("\n\t" if rest.find("}") < 0 else "}")]


def bounds_checks(source):
    """All checks in the file, in order."""
    text = blank(source)
    found = []

    def add(start, end, neutral):
        start, end = trimmed(text, start, end)
        if BOUNDS.search(" " + text[start:end].replace("->", ". ") + " ") and not FAILURE.search(text[start:end]):
            found.append(Check(start, end, text.count("\n", 0, start) + 1,
                               source[start:end], neutral))

    for match in re.finditer(r"\bif \(", text):
        close = closing(text, match.end() - 1)
        if LEAVES.search(body_of(text, close + 1)):
            for operand in operands(text, *unwrapped(text, match.end(), close), "||"):
                add(*operand, "0 &&")
        else:
            for operand in operands(text, *unwrapped(text, match.end(), close), "&&"):
                if GUARD.search(text[slice(*operand)].replace("->", ". ")):
                    add(*operand, "1 ||")
    for match in re.finditer(r"\breturn ([^;?:]*?)\s\?", text):
        if GUARD.search(match[1].replace("->", ". ")):
            add(match.start(1), match.end(1), "1 ||")
    for match in re.finditer(r"^(\w[^\n;]*(?:\n\t+ +[^\n;{]*)*)\n\{\n(.*?)^\}", text, flags=re.S | re.M):
        if not PREDICATE.match(match[1]):
            continue
        for leave in re.finditer(r"\breturn ([^;]*);", match[2]):
            start, end = leave.start(1) + match.start(2), leave.end(1) + match.start(2)
            if not re.search(r"\?", text[start:end]):
                for operand in operands(text, start, end, "&&"):
                    add(*operand, "1 ||")
    return sorted(found, key=lambda check: check.start)
