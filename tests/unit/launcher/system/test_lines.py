import random

import pytest

from launcher.system.lines import LineSplitter


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"a\n"], [[b"a"]]),
        ([b"a"], [[]]),
        ([b"a", b"b\nc\n\nd"], [[], [b"ab", b"c", b""]]),
        ([b"a\nb", b""], [[b"a"], []]),
        ([b"\xc3", b"\xa9\n"], [[], [b"\xc3\xa9"]]),
    ],
)
def test_line_splitter_keeps_incomplete_lines(
    chunks: list[bytes], lines: list[list[bytes]]
) -> None:
    splitter = LineSplitter()
    assert [splitter.feed(chunk) for chunk in chunks] == lines


def test_line_splitter_does_not_depend_on_the_chunks() -> None:
    text, dice = b"".join(b"%d\n" % number for number in range(500)), random.Random(1)
    splitter, lines, position = LineSplitter(), list[bytes](), 0
    while position < len(text):
        size = dice.randrange(1, 9)
        lines += splitter.feed(text[position : position + size])
        position += size
    assert lines == [b"%d" % number for number in range(500)]
