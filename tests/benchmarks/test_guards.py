"""The benchmark of the checks of translations: it makes every fault, and the checks find them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import guards

ROWS = {
    "en-pt": [
        ("A man in a red shirt stands on a rock.", "Um homem de camisa vermelha está em uma rocha."),
        ("Two dogs run through the water at the beach.", "Dois cachorros correm pela água na praia."),
        ("A woman is reading a book under a tree.", "Uma mulher está lendo um livro embaixo de uma árvore."),
        ("A boy jumps into the pool with his friends.", "Um menino pula na piscina com os amigos dele."),
    ],
    "en-hi": [
        ("A man in a red shirt stands on a rock.", "लाल कमीज़ में एक आदमी चट्टान पर खड़ा है।"),
        ("Two dogs run through the water at the beach.", "दो कुत्ते समुद्र तट पर पानी में दौड़ते हैं।"),
        ("A woman is reading a book under a tree.", "एक औरत पेड़ के नीचे किताब पढ़ रही है।"),
        ("A boy jumps into the pool with his friends.", "एक लड़का अपने दोस्तों के साथ तालाब में कूदता है।"),
    ],
}


@pytest.mark.parametrize("pair", ROWS)
def test_every_fault_is_made_and_found_and_nothing_right_is_dropped(pair: str, tmp_path: Path) -> None:
    path = tmp_path / f"captions.{pair}.tsv"
    path.write_text("".join(f"{text}\t{translation}\n" for text, translation in ROWS[pair]), "utf-8")
    found = guards.rates(path, "all", 100, 100)
    assert found[guards.RIGHT] == [4, 0.0]
    assert found[guards.STRIPPED] == [4, 0.0]
    assert set(guards.FAULTS) < set(found)
    unsure = {"last third cut off", "the same, texts without full stops"}
    assert {name: found[name][1] for name in guards.FAULTS if name not in unsure and found[name][1] < 1} == {}


def test_rates_before_and_after_stand_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path = tmp_path / "captions.en-pt.tsv"
    path.write_text("".join(f"{text}\t{translation}\n" for text, translation in ROWS["en-pt"]), "utf-8")
    saved = str(tmp_path / "rates.json")
    for options in (["--save", saved], ["--before", saved]):
        monkeypatch.setattr("sys.argv", ["guards.py", str(tmp_path), "--half", "all", *options])
        guards.main()
    printed = capsys.readouterr().out
    assert "| said twice | 100 |" in printed and "| said twice | 100 → 100 |" in printed
    assert "| right translations | 0.00 → 0.00 |" in printed
