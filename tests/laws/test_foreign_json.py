"""Every stage that changes captions leaves the rest of a json of other programs as it is, character by character."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.made import jpeg, shard_bytes
from support.warm import CAPIVARA

from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.json_text import read_object
from capivara_cli.shards.sample import Sample

OTHERS = (
    '"id" : 1e400, "n":12345678901234567890123456789012345678901,"n": -0, "\\u0061": "\\u00e9\\/\\ud800",'
    '\n\t"float": 0.1000000000000000055511151231257827 ,"z": [ 1.0,{"a":1,"a":2} ]'
)
RED = '{"text":"a red square on the grass" , "lang": "en", "by":"alt","of":null,"score": null, "x": 1e400, "x": 0.10}'
AGAIN = '{"lang":"en","text":"a red square on the grass.", "by": "someone", "of": null, "score":null}'
LINES = {
    "caption": "caption --captioner toy --n 2",
    "translate": "translate --translator toy --lang pt",
    "rewrite": "rewrite --rewriter eda --tries 1",
    "filter": "filter --model toy",
    "filter by rules": "filter --no-score --rules length --max-chars 25",
    "dedupe": "dedupe --threshold 0.1 --k-min 1",
    "dedupe of images": "dedupe --images exact --k-min 1",
}


def samples() -> list[Sample]:
    image = jpeg((220, 40, 40))
    texts = {
        "last": f'{{ {OTHERS}, "captions" :[ {RED},{AGAIN} ] }}\n',
        "first": f'{{"captions":[{RED},{AGAIN}],{OTHERS}}}',
        "twice": f'{{"captions": [{RED}], {OTHERS}, "captions": [{AGAIN}]}}',
        "two towers": f'{{"clip": 1, "captions": [{RED}], "clip": {{}}}}',
    }
    return [Sample(key, {"jpg": image + key.encode(), "json": text.encode()}) for key, text in texts.items()]


@pytest.mark.parametrize("stage", LINES)
def test_only_what_a_stage_owns_changes(stage: str, tmp_path: Path) -> None:
    given = {sample.key: sample for sample in samples()}
    (tmp_path / "s.tar").write_bytes(shard_bytes(list(given.values())))
    words = [*CAPIVARA, *LINES[stage].split(), "s.tar", "--out", "out"]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert 'json has "captions" twice' in ran.stderr and 'json has "clip" twice' in ran.stderr
    with open_shard(str(tmp_path / "out" / "s.tar")) as reader:
        found = {sample.key: sample for sample in reader}
    assert set(found) == {"last", "first"}
    for key, sample in found.items():
        before, after = given[key].members["json"].decode(), sample.members["json"].decode()
        assert after != before
        old, new = read_object(before, ("captions",)), read_object(after, ("captions",))
        undone = new.edited({"captions": old.text_of("captions"), **({"clip": None} if "clip" in new else {})})
        assert undone == before
        if stage != "filter":  # which gives every caption a score
            kept = [text for text in new.items_of["captions"] if text in (RED, AGAIN)]
            assert kept, "a caption that did not change keeps its characters"
        else:
            assert [text.count('"x": 1e400, "x": 0.10') for text in new.items_of["captions"]] == [1, 0]
