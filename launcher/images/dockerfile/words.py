"""Words of a Dockerfile: quotes, escapes and variables, with the semantics of Docker's own lexer. Pure.

A word is parsed into parts. A variable whose value is known at conversion is replaced by it; the others,
which only the base image sets, remain references that the shell of the build expands.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

SPECIAL = "@*#?-$!"
OPERATORS = ("-", "+", "?", "#", "%")


class BadWord(ValueError): ...


@dataclass(frozen=True)
class Reference:
    """`operator` is that of ${NAME<operator>argument}; "" without one."""

    name: str
    operator: str = ""
    argument: "Parts" = ()
    replacement: "Parts" = ()


Parts = tuple[str | Reference, ...]
# The value of a variable: its parts, None when it is unset, and itself when only the build knows it.
Lookup = Callable[[str], Parts | None]


class _Scanner:
    def __init__(self, text: str, *, quotes: bool) -> None:
        self.text, self.place, self.quotes = text, 0, quotes

    def peek(self) -> str:
        return self.text[self.place : self.place + 1]

    def next(self) -> str:
        character = self.peek()
        self.place += 1
        return character

    def parts(self, stop: str = "", *, raw_escapes: bool = False) -> Parts:
        """Everything up to an unquoted `stop`, which is consumed."""
        found: list[str | Reference] = []
        while character := self.next():
            if character == stop:
                return _joined(found)
            if character == "'" and self.quotes:
                found.append(self._single())
            elif character == '"' and self.quotes:
                found += self._double()
            elif character == "$":
                found.append(self._variable())
            elif character == "\\":
                found.append(("\\" if raw_escapes else "") + self.next())
            else:
                found.append(character)
        if stop:
            raise BadWord(f"{stop} is missing")
        return _joined(found)

    def _single(self) -> str:
        start, end = self.place, self.text.find("'", self.place)
        if end < 0:
            raise BadWord("a single quote is not closed")
        self.place = end + 1
        return self.text[start:end]

    def _double(self) -> Iterator[str | Reference]:
        while character := self.next():
            if character == '"':
                return
            if character == "$":
                yield self._variable()
            elif character == "\\" and self.peek() in ('"', "$", "\\"):
                yield self.next()
            elif character != "\\" or self.peek():
                yield character
        raise BadWord("a double quote is not closed")

    def _name(self) -> str:
        found = re.compile(r"\d+|[^\W\d]\w*|[@*#?$!-]").match(self.text, self.place)
        self.place = found.end() if found else self.place
        return found[0] if found else ""

    def _variable(self) -> str | Reference:
        if self.peek() != "{":
            name = self._name()
            return Reference(name) if name else "$"
        self.next()
        name, operator = self._name(), self.next()
        if not name:
            raise BadWord("bad substitution: ${...} without a name")
        if operator == "}":
            return Reference(name)
        if operator == ":":
            operator += self.next()
        if operator == "/":
            if self.peek() == "/":
                operator += self.next()
            pattern = self.parts("/", raw_escapes=True)
            return Reference(name, operator, pattern, self.parts("}", raw_escapes=True))
        if operator[-1:] not in OPERATORS or operator in (":#", ":%"):
            raise BadWord(f"${{{name}{operator}...}} is not supported")
        pattern = self.parts("}", raw_escapes=operator in ("#", "%"))
        return Reference(name, operator, pattern)


def parse(word: str, *, quotes: bool = True) -> Parts:
    """Raises `BadWord`. Without `quotes` they are ordinary characters, as in here-documents."""
    return _Scanner(word, quotes=quotes).parts()


def resolve(parts: Parts, lookup: Lookup) -> Parts:
    """Replaces the references whose values are known. Raises `BadWord`."""
    found: list[str | Reference] = []
    for part in parts:
        found += (part,) if isinstance(part, str) else _resolved(part, lookup)
    return _joined(found)


def _resolved(reference: Reference, lookup: Lookup) -> Parts:
    name, operator = reference.name, reference.operator
    value = None if name.isdecimal() or name in SPECIAL else lookup(name)
    if not operator:
        return value or ()
    argument = resolve(reference.argument, lookup)
    known = None if value is None else literal(value)
    if value is not None and known is None:
        if operator[-1] in "-+" and value == (Reference(name),):
            return (Reference(name, operator, argument),)
        raise BadWord(f"${{{name}{operator}...}}: only the base image knows {name}")
    missing = known is None or (operator[0] == ":" and not known)
    if operator[-1] in "-+?":
        return _chosen(reference, argument, None if missing else known)
    replacement = literal(resolve(reference.replacement, lookup))
    pattern = literal(argument)
    if pattern is None or replacement is None:
        raise BadWord(f"${{{name}{operator}...}}: only the base image knows its pattern")
    return (_replaced(known or "", operator, pattern, replacement),)


def _chosen(reference: Reference, argument: Parts, value: str | None) -> Parts:
    """The result of -, + or ?; `value` is None when the variable counts as unset."""
    if reference.operator.endswith("+"):
        return () if value is None else argument
    if value is not None:
        return (value,)
    if reference.operator.endswith("?"):
        raise BadWord(f"{reference.name}: {literal(argument) or 'it must be set'}")
    return argument


def _replaced(value: str, operator: str, pattern: str, replacement: str) -> str:
    if operator in ("/", "//"):
        expression = _expression(pattern, greedy=True)
        return re.sub(expression, lambda _: replacement, value, count=operator == "/")
    greedy = pattern.startswith(operator)
    expression = _expression(pattern.removeprefix(operator), greedy=greedy)
    if operator == "#":
        found = re.match(expression, value)
        return value[found.end() :] if found else value
    # The shortest match at the end begins as late as possible.
    starts = range(len(value) + 1) if greedy else range(len(value), -1, -1)
    ends = (at for at in starts if re.fullmatch(expression, value[at:], re.DOTALL))
    return value[: next(ends, len(value))]


def _expression(pattern: str, *, greedy: bool) -> str:
    star = ".*" if greedy else ".*?"
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"*": star, "?": "."}.get(p, re.escape(p[-1])) for p in pieces)


def literal(parts: Parts) -> str | None:
    """The text of a word without references; None if it has any."""
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else None


def references(parts: Parts) -> set[str]:
    found = set()
    for part in parts:
        if isinstance(part, Reference):
            found |= {part.name} | references(part.argument)
    return found


def quote(text: str) -> str:
    """One word of one line of a definition: Apptainer replaces {{ NAME }} there."""
    if "\n" in text:
        return f'"$(printf %b {quote(escaped(text))})"'
    return "'" + text.replace("'", "'\"'\"'").replace("{{", "{''{") + "'"


def escaped(text: str) -> str:
    """The text as the argument of `printf %b`, on one line."""
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def shell(parts: Parts) -> str:
    """A word for a shell, which expands its references and nothing else."""
    text = literal(parts)
    return quote(text) if text is not None else f'"{_inside(parts)}"'


def _inside(parts: Parts, special: str = '\\\\"$`') -> str:
    words = []
    for part in parts:
        if isinstance(part, Reference):
            argument = _inside(part.argument, special="}" + special)
            words.append(f"${{{part.name}{part.operator}{argument}}}")
        elif "\n" in part:
            raise BadWord("a value of several lines that only the base image knows")
        else:
            words.append(re.sub(f"([{special}])", r"\\\1", part).replace("{{", '{""{'))
    return "".join(words)


def split(text: str) -> list[str]:
    """The words of ENV, LABEL and ARG, with their quotes."""
    return re.findall(r"""((?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\]|["'])+)""", text, re.DOTALL)


def _joined(parts: list[str | Reference]) -> Parts:
    found: list[str | Reference] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif part != "":
            found.append(part)
    return tuple(found)


def constant(values: Mapping[str, str]) -> Lookup:
    return lambda name: (values[name],) if name in values else None
