from __future__ import annotations

from wire.words import WORDS, words_of


def test_every_byte_has_a_word_of_its_own() -> None:
    assert len(set(WORDS)) == len(WORDS) == 256
    assert all(word.isascii() and word.islower() and word.isalpha() and 3 <= len(word) <= 9 for word in WORDS)


def test_words_never_change() -> None:
    assert words_of(bytes((0, 127, 255))) == "acorn-hedgehog-zipper"
