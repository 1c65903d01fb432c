"""JSON of other programs keeps its characters: only the values that capivara owns are written anew."""

from __future__ import annotations

import codecs
import json
from dataclasses import replace
from typing import Any

import pytest

from capivara_cli.errors import BadSample
from capivara_cli.shards.json_text import JsonText, object_text, read_object
from capivara_cli.shards.sample import Caption, Sample, encode_json

NEW = Caption("um cão", "pt", "toy:en-pt", "a dog", 0.25)
ENTRY = '{"text": "um cão", "lang": "pt", "by": "toy:en-pt", "of": "a dog", "score": 0.25}'

VALUES = [
    "1e400", "-1E+400", "-0", "-0.0", "1.0", "1E5", "1e5", "0.1000", "12345678901234567890123456789012345678901",
    "0." + "1234567890" * 20, "0.1000000000000000055511151231257827", "NaN", "-Infinity", '"\\u00e9"', '"é"', '"\\/"',
    '"\\ud800"', '"\\uD83D\\uDE00"', '"\x7f\u2028"', '{"a": 1, "a": 2}', "[ 1,2 ,\t3 ]", "{}", "[ ]", "true", "null",
]  # fmt: skip
"""Values whose text would change if it were parsed and written again."""

FORMS = {
    "one line": '{{"id": {0}, "captions": []}}',
    "no spaces": '{{"id":{0},"captions":[]}}',
    "lines": '{{\n    "id" : {0},\r\n\t"captions"\n:\n[ ] , "z": 1\n}}\n',
    "no captions": ' {{ "id": {0} }} ',
    "last": '{{"captions": [], "id": {0}, "id": {0}}}',
    "an escaped key": '{{"\\u0063aptions": [], "\\u0069d": {0}}}',
}


def sample(text: str | bytes) -> Sample:
    return Sample("k", {"json": text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")})


def with_new(text: str) -> str:
    return sample(text).with_captions([NEW]).members["json"].decode("utf-8", "surrogatepass")


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("form", FORMS)
def test_only_the_captions_change(form: str, value: str) -> None:
    before = FORMS[form].format(value)
    after = with_new(before)
    if form == "no captions":
        assert after == before[:-3] + f', "captions": [{ENTRY}] }} '
    else:
        old = "[ ]" if form == "lines" else "[]"
        head, _, tail = before.partition('aptions"')
        new = json.dumps(json.loads(ENTRY)) if "\\ud800" in value and form == "one line" else ENTRY  # as encode_json
        assert after == head + 'aptions"' + tail.replace(old, f"[{new}]", 1)
    assert sample(after).captions == [NEW]


@pytest.mark.parametrize(("before", "after"), [("{}", "{%s}"), ("{ }", "{ %s}"), ('{"a":1}', '{"a":1, %s}')])
def test_a_new_key_comes_last(before: str, after: str) -> None:
    assert with_new(before) == after % f'"captions": [{ENTRY}]'


@pytest.mark.parametrize("value", VALUES)
def test_other_keys_of_a_caption_keep_their_text(value: str) -> None:
    """A new score, a key that goes and one that comes leave the entry as it is, with its spaces and repeated keys."""
    text = '{"text": "a", "lang":"en" , "x": %s, "by": "alt", "x": 7, "of": null, "score": null, "y": [%s]}'
    entry = text % (value, value)
    before = sample(f'{{"captions": [{entry}]}}')
    (caption,) = before.captions
    after = before.with_captions([caption, NEW]).members["json"].decode("utf-8", "surrogatepass")
    assert after == f'{{"captions": [{entry}, {ENTRY}]}}'
    scored = replace(caption, score=0.5, more=(*caption.more, ("of_lang", '"pt"')))
    assert scored.edited_text(entry) == entry.replace('"score": null', '"score": 0.5')[:-1] + ', "of_lang": "pt"}'
    gone = replace(caption, more=tuple(pair for pair in caption.more if pair[0] != "y"))
    assert gone.edited_text(entry) == entry.replace(f', "y": [{value}]', "")


def test_a_caption_without_all_keys_gets_them() -> None:
    """Other readers infer a schema: every entry has the five keys. What the entry has stays."""
    found = sample('{"captions": [{"text": "a\\/b", "lang": null, "n": 1.50}]}')
    assert found.with_captions(found.captions) is found
    after = found.with_captions([*found.captions, NEW]).members["json"].decode()
    head = '{"captions": [{"text": "a\\/b", "lang": "und", "n": 1.50, "by": "unknown", "of": null, "score": null}, '
    assert after == head + ENTRY + "]}"


@pytest.mark.parametrize("mark", [codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE, b""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_the_encoding_and_the_mark_of_a_member_stay(mark: bytes, encoding: str) -> None:
    known = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    if mark and known.get(mark, "utf-32-le") != encoding:
        return
    before = '{"é": 1e400}'
    after = sample(mark + before.encode(encoding)).with_captions([NEW]).members["json"]
    assert after == mark + f'{before[:-1]}, "captions": [{ENTRY}]}}'.encode(encoding)


def test_half_of_a_pair_as_bytes_stays() -> None:
    before = b'{"a": "\xed\xa0\x80"}'
    assert sample(before).with_document(clip=None).members["json"] == before[:-1] + b', "clip": null}'


@pytest.mark.parametrize("key", ["captions", "clip"])
@pytest.mark.parametrize("second", ["", "\\u0063"])
def test_a_repeated_key_that_capivara_changes_is_refused(key: str, second: str) -> None:
    other = second + key[1:] if second else key
    doubled = sample(f'{{"{key}": [], "id": 1, "{other}": []}}')
    with pytest.raises(BadSample, match=f'json has "{key}" twice'):
        _ = doubled.captions
    with pytest.raises(BadSample):
        _ = doubled.document


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[1]", "not an object"), ("3", "not an object"), ('"a"', "not an object"), ("", "cannot be parsed"),
        ("{", "cannot be parsed"), ('{"a"}', "cannot be parsed"), ('{"a":}', "cannot be parsed"),
        ('{"a":1,}', "cannot be parsed"), ('{"a":1 "b":2}', "cannot be parsed"), ('{"a":1}}', "cannot be parsed"),
        ('{"a":1} x', "cannot be parsed"), ("{a:1}", "cannot be parsed"), ('{"a":1]', "cannot be parsed"),
        ('{"captions":[1,]}', "cannot be parsed"), ('{"captions":[1}', "cannot be parsed"),
        ('{"captions":[', "cannot be parsed"), ('{"a\n":1}', "cannot be parsed"), ("[1", "cannot be parsed"),
        ('{"a":1,,}', "cannot be parsed"), ('\x0b{"a":1}', "cannot be parsed"), ('{"a":01}', "cannot be parsed"),
    ],
)  # fmt: skip
def test_what_is_no_json_object(text: str, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        _ = sample(text).document
    if reason == "cannot be parsed":
        with pytest.raises(ValueError):
            json.loads(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", VALUES)
def test_the_values_are_those_of_json_loads(form: str, value: str) -> None:
    text = FORMS[form].format(value)
    assert repr(dict(read_object(text, ("captions",)))) == repr(json.loads(text))


def test_keys_are_removed_with_their_commas() -> None:
    text = '{ "a":1 ,\n"b": 2,"c":3 }'
    read = read_object(text)
    assert read.edited({"a": None}) == '{ "b": 2,"c":3 }'
    assert read.edited({"b": None}) == '{ "a":1,"c":3 }'
    assert read.edited({"c": None}) == '{ "a":1 ,\n"b": 2 }'
    assert read.edited(dict.fromkeys("abc")) == "{  }"
    assert read.edited({**dict.fromkeys("abc"), "d": "4"}) == '{ "d": 4 }'
    assert read.edited({"x": None}) == text
    assert read.text_of("b") == "2"


def test_an_object_of_values_and_texts() -> None:
    values: dict[str, Any] = {"a": 1, "é": JsonText("1e400"), "c": "\ud800", "d": [None, 0.5]}
    assert object_text(values) == '{"a": 1, "é": 1e400, "c": "\\ud800", "d": [null, 0.5]}'
    assert encode_json({"a": 1, "d": [None, 0.5]}).decode() == '{"a": 1, "d": [null, 0.5]}'


def test_the_text_of_a_repeated_key_is_that_of_its_last_value() -> None:
    read = read_object('{"a": 1.0, "b": 2, "a": 3.50}')
    assert (read.text_of("a"), read["a"], read.repeated) == ("3.50", 3.5, {"a"})


@pytest.mark.parametrize("score", ["-Infinity", "Infinity", "NaN", "1e400", "-1e301", "true", '"1"'])
def test_a_score_that_is_no_finite_number_is_refused(score: str) -> None:
    with pytest.raises(BadSample, match='"score" that is not a number'):
        _ = sample(f'{{"captions": [{{"text": "a", "score": {score}}}]}}').captions
