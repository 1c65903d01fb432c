import pytest

from capivara_cli.languages.detokenization import detokenised


@pytest.mark.parametrize(
    ("translation", "code", "expected"),
    [
        ("Um cão corre .", "pt", "Um cão corre."),
        ("Um cão , um gato ; dois : três !", "pt", "Um cão, um gato; dois: três!"),
        ("Um cão ...", "es", "Um cão..."),
        ("¿ Qué es ?", "es", "¿Qué es?"),
        ("( foto ) [ um ]", "pt", "(foto) [um]"),
        ('Uma placa " pare " .', "pt", 'Uma placa "pare".'),
        ("Uma placa “ pare ” .", "pt", "Uma placa “pare”."),
        ("“ Dos gossos ” i “ un gat ”", "ca", "“Dos gossos” i “un gat”"),
        ("Uma mulher senta - se", "pt", "Uma mulher senta-se"),
        ("um guarda - chuva", "pt", "um guarda-chuva"),
        ("y a - t - il un chien", "fr", "y a-t-il un chien"),
        ("anak - anak bermain", "id", "anak-anak bermain"),
        ("copo d ' água", "pt", "copo d'água"),
        ("l ' eau qu' il boit", "fr", "l'eau qu'il boit"),
        ("L ’ home d 'una ciutat", "ca", "L’home d'una ciutat"),
        ("dell ' acqua", "it", "dell'acqua"),
        ("they don ' t see the dog 's ball", "en", "they don't see the dog's ball"),
        ("İstanbul ' da bir köpek", "tr", "İstanbul'da bir köpek"),
        ("10 , 000 gatos", "pt", "10,000 gatos"),
        ("10 . 000 gatos", "pt", "10.000 gatos"),
        ("um gato de 3 . 5 m", "pt", "um gato de 3.5 m"),
        ("2 , 3 gatos", "pt", "2, 3 gatos"),
        ("एक कुत्ता ।", "hi", "एक कुत्ता।"),
        ("كلب ، قطة ؟", "ar", "كلب، قطة؟"),
        ("Un chien , un chat .", "fr", "Un chien, un chat."),
    ],
)
def test_tokenised_output_is_detokenised(translation: str, code: str, expected: str) -> None:
    source = "10,000 cats of 3.5 m?"
    assert detokenised(translation, source, code) == expected
    assert detokenised(expected, source, code) == expected


@pytest.mark.parametrize(
    ("translation", "source", "code"),
    [
        ("um gato , um cão .", "a cat , a dog .", "pt"),  # as its source
        ("un chat ( photo ) .", "a cat ( photo ) .", "fr"),
        ("Quel chien !", "What a dog!", "fr"),
        ("« Le chien » : un chat ; pourquoi ?", "The dog", "fr"),
        ("Это - собака", "This is a dog", "ru"),
        ("Warszawa - stolica", "Warsaw is the capital", "pl"),
        ("um homem - Imagem em Alta Resolução", "a man", "pt"),
        ("um homem - foto de stock", "a man", "pt"),
        ("Vier Personen - drei Männer und eine Frau – arbeiten", "Four people, three men and a woman, work", "de"),
        ("um homem - um herói", "a man: a hero", "pt"),
        ("um homem - um herói", "a man - a hero", "pt"),
        ("um homem - ator", "a man, actor", "pt"),  # a dash for a comma
        ("un home, un gos - tots dos corrent", "a man, a dog, both running", "ca"),
        ("ein Hund - braun", "a dog, brown", "de"),
        ("placar de 3 : 2", "a score of 3:1", "de"),
        ("os ' gatos ' pretos", "the 'black' cats", "pt"),
        ("usa .NET e C ++", "uses .NET and C++", "pt"),
        ("na ??? a", "on ??? a", "cs"),
        ("5 % de gatos", "5% of cats", "es"),
        ("um  gato\t.NET", "a cat", "pt"),
    ],
)
def test_spaces_that_belong_there_stay(translation: str, source: str, code: str) -> None:
    assert detokenised(translation, source, code) == translation
