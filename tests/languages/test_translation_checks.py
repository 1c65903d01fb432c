"""The checks of translations, by the kind of fault. Rates on captions: benchmarks/guards.py."""

from __future__ import annotations

import pytest

from capivara_cli.languages.translation_checks import NAMES, objection

LONG = "A man in a red shirt stands on a rock near the sea."
RIGHT = "Um homem de camisa vermelha está em cima de uma rocha perto do mar."

CUT, NEGATED, UNTRANSLATED = "cut off", "negated, which the source is not", "partly untranslated"
REPETITIVE, JUNK, COPY = "repeating itself", "junk that translators are known for", "a copy of the source"
WORDLESS, SCRIPT, LANGUAGE = "words for a caption without any", "in another script", "in another language"


def reason(text: str, translation: str, target: str = "pt", source: str = "en") -> str | None:
    return objection(text, translation, source, target, NAMES)


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        (LONG, RIGHT, "pt"),
        (LONG, "Un home amb una camisa vermella és dalt d'una roca prop del mar.", "ca"),
        (LONG, "Ein Mann in einem roten Hemd steht auf einem Felsen am Meer.", "de"),
        (LONG, "लाल कमीज़ में एक आदमी समुद्र के पास एक चट्टान पर खड़ा है।", "hi"),
        (LONG, "Mies punaisessa paidassa seisoo kivellä meren lähellä.", "fi"),
        (LONG, "一个穿红衬衫的男人站在海边的岩石上。", "zh"),
        ("A woman dresses.", "Eine Frau zieht sich an.", "de"),  # verbs that end in a preposition
        ("A man shops at a market.", "Ein Mann kauft auf einem Markt ein.", "de"),
        ("A boy takes a ball.", "En dreng tager en bold med.", "da"),
    ],
)
def test_right_translations_pass(text: str, translation: str, target: str) -> None:
    assert reason(text, translation, target) is None


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        ("A high-resolution image of a cell", "Uma imagem em alta resolução de uma célula", "pt"),
        ("An HD photo of a lake in the mountains", "Uma foto em alta resolução de um lago nas montanhas", "pt"),
        ("A stock photo of a meeting room", "Una foto de stock de una sala de reuniones", "es"),
        ("Subtitles by the students on a screen", "Legendas por estudantes em uma tela", "pt"),
        ("A royalty-free picture of a dog", "Uma imagem livre de direitos de um cachorro", "pt"),
        ("See www.example.org for more dogs", "Veja www.example.org para mais cachorros", "pt"),
        ("Dogs & cats (asleep) #1", "Cachorros e gatos (dormindo) #1", "pt"),
    ],
)
def test_known_junk_is_right_where_the_text_has_it_too(text: str, translation: str, target: str) -> None:
    assert reason(text, translation, target) is None


@pytest.mark.parametrize(
    "name",
    [
        "Rio de Janeiro", "2019 Ford Mustang GT", "BMW X5 M50d", "iPhone 12 Pro Max", "Vincent van Gogh",
        "Stoke upon Trent Arena", "Rychnov nad Kněžnou", "Canon EOS R5 24-105mm f4L", "Sony WH-1000XM4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["pt", "de", "hi", "zh"])
def test_names_models_and_numbers_stay_as_they_are(name: str, target: str) -> None:
    assert reason(name, name, target) is None


@pytest.mark.parametrize(
    "title", ["A Dog On A Beach", "NO PARKING ON THE STREET", "A man with a BMW X5", "The dog is Max"]
)
def test_a_title_in_capitals_is_no_name(title: str) -> None:
    assert reason(title, title) == COPY
    assert reason(title, title, "hi") == SCRIPT


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("pt", "gl", "vaca branca no prado"),
        ("hr", "bs", "dva psa trče na plaži"),
        ("id", "ms", "kucing hitam di atas meja"),
        ("cs", "sk", "malá žena sedí na lavici"),
        ("nb", "da", "en hund ligger på en seng"),
        ("es", "ca", "dos persones a la platja"),
        ("hi", "mai", "लाल साइकिल पर लड़का"),
        ("ru", "be", "кот на дахе дома"),
    ],
)
def test_close_languages_share_a_sentence(source: str, target: str, text: str) -> None:
    assert reason(text, text, target, source) is None


@pytest.mark.parametrize(
    ("source", "target", "text", "translation"),
    [
        (
            "es", "ca", "Dos amigos pasean en bicicleta durante una tarde soleada.",
            "Dos amics passegen en bicicleta durante una tarde soleada.",
        ),
        ("ru", "uk", "Мужчина в красной куртке стоит на горе.", "Чоловік в красной куртке стоит на горе."),
        ("es", "ca", "Grandes olas golpean rocas oscuras.", "Jinetes vestidos galopan entre polvo intenso."),
        ("es", "pt", "Grandes olas golpean rocas oscuras.", "Jinetes vestidos galopan entre polvo intenso."),
    ],
)  # fmt: skip
def test_words_of_a_near_language_without_its_frequent_ones_fail(
    source: str, target: str, text: str, translation: str
) -> None:
    assert reason(text, translation, target, source) in ("partly untranslated", "in another language")


@pytest.mark.parametrize(
    ("source", "target", "text", "translation"),
    [
        ("es", "ca", "Un turista visita el museo.", "Un turista visita el museu."),
        (
            "es", "ca", "El tren pasa por Barcelona, Valencia y Alicante cada mañana.",
            "El tren passa per Barcelona, València i Alacant cada matí.",
        ),
        ("es", "gl", "Una vaca blanca en un prado verde.", "Unha vaca branca nun prado verde."),
        ("pt", "gl", "Uma vaca branca no prado verde.", "Unha vaca branca no prado verde."),
        ("pt", "gl", "Um homem de boné na cozinha", "Un home con boné na cozinha"),
        ("ru", "uk", "Красная машина на дороге.", "Червона машина на дорозі."),
    ],
)  # fmt: skip
def test_right_translations_into_a_near_language_stay(source: str, target: str, text: str, translation: str) -> None:
    assert reason(text, translation, target, source) is None


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        ("pt", "gl", "um homem com uma criança na rua"),
        ("es", "ca", "una mujer con un perro en la playa"),
        ("id", "en", "kucing hitam di atas meja"),
        ("nb", "fi", "en hund ligger på en seng"),
    ],
)
def test_a_copy_with_words_of_the_other_language_fails(source: str, target: str, text: str) -> None:
    assert reason(text, text, target, source) == COPY


@pytest.mark.parametrize(
    "translation",
    [
        "Um homem de camisa vermelha perto do mar mar mar mar mar",  # the last word five times
        "Um homem de camisa vermelha perto do mar perto do mar perto do mar",  # the last three words three times
        f"{RIGHT} {RIGHT}",
        f"{RIGHT.rstrip('.')}, {RIGHT}",
        "matriculados matriculados matriculados",
        "cor - cor - cor",
        "vermelho, vermelho, vermelho",
        "l'aigua l'aigua l'aigua l'aigua",
        "Um homem está na rocha. Um homem está na rocha perto.",
        "gato preto gato preto",
        "Um homem gatogatogatogatogatogato perto do mar.",
        "Um homem na praaaaaaaaia perto do mar.",
    ],
)
def test_repetitions(translation: str) -> None:
    assert reason(LONG, translation) == REPETITIVE


@pytest.mark.parametrize(
    ("translation", "target"),
    [
        ("चट्टान पर एक आदमी खड़ा है है है है है", "hi"),
        ("红色红色红色红色红色红色的男人站在海边的岩石上", "zh"),
        ("ஒரு மனிதன் மனிதன் மனிதன் கடலுக்கு அருகில் நிற்கிறான்", "ta"),
    ],
)
def test_repetitions_in_other_scripts(translation: str, target: str) -> None:
    assert reason(LONG, translation, target) == REPETITIVE


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        ("Row, row, row your boat, says the sign.", "Rema, rema, rema teu barco, diz a placa.", "pt"),
        ("They walk hand in hand down the street.", "Ils marchent main dans la main dans la rue.", "fr"),
        ("A very, very, very old house.", "Uma casa muito, muito, muito velha.", "pt"),
        ("Two children play on the beach.", "Dua anak-anak bermain di pantai.", "id"),
        ("He waits ... and waits.", "Ele espera ...... e espera.", "pt"),
        ("Little by little.", "A poc a poc.", "ca"),
        ("Day by day", "Din zi în zi", "ro"),
        ("Two by two", "A due a due", "it"),
        ("A number 1 000 000 000 on a wall.", "Um número 1 000 000 000 em uma parede.", "pt"),
    ],
)  # fmt: skip
def test_what_the_text_says_twice_may_come_twice(text: str, translation: str, target: str) -> None:
    assert reason(text, translation, target) is None


@pytest.mark.parametrize(
    ("translation", "target"),
    [
        ("Um homem de camisa vermelha está", "pt"),  # far shorter
        ("Um homem de camisa vermelha está em cima de uma", "pt"),  # ends with an article
        ("Ein Mann in einem roten Hemd steht auf einem Felsen in der", "de"),
        ("Un homme avec une chemise rouge est debout sur un rocher près de", "fr"),
        ("लाल कमीज़ में एक आदमी समुद्र के", "hi"),
        ("Muž v červené", "cs"),
    ],
)
def test_translations_that_are_cut_off(translation: str, target: str) -> None:
    assert reason(LONG, translation, target) == CUT


def test_far_longer_than_the_source() -> None:
    assert (
        reason("a dog", "um cachorro que corre pela praia enquanto o sol se põe no mar") == "far longer than the source"
    )


@pytest.mark.parametrize(
    ("translation", "target"),
    [
        ("Um homem de camisa vermelha stands on a rock near the sea.", "pt"),  # the second half
        ("Um homem in a red shirt stands on a rock near the sea.", "pt"),  # three quarters
        ("A man in a red shirt está em cima de uma rocha.", "pt"),  # the first half
        ("Um homem em uma red shirt stands on uma rocha perto do mar.", "pt"),  # the middle
        ("Un homme de chemise rouge stands on a rock near the sea.", "fr"),
        ("लाल कमीज़ में एक आदमी stands on a rock near the sea.", "hi"),
        ("一个穿红衬衫的男人 stands on a rock near the sea.", "zh"),
        ("Indoda enxibe stands on a rock near the sea.", "xh"),  # its words are not known
        ("Two women are walking with their dogs along the street.", "pt"),  # another English caption
        ("Two women are walking with their dogs along the street.", "ca"),
    ],
)
def test_translations_that_are_left_in_the_source_language(translation: str, target: str) -> None:
    assert reason(LONG, translation, target) == UNTRANSLATED


@pytest.mark.parametrize(
    ("source", "target", "text", "translation"),
    [
        (
            "es",
            "pt",
            "Una mujer con un perro juega en la playa azul.",
            "Uma mulher com um perro juega en la playa azul.",
        ),
        ("pt", "gl", "Um homem com uma criança corre na rua.", "Un home cunha criança corre com uma rua."),
        ("de", "nl", "Ein Mann mit Hut steht auf einem Felsen.", "Een man met een steht auf einem Felsen."),
    ],
)
def test_parts_left_in_a_related_language(source: str, target: str, text: str, translation: str) -> None:
    assert reason(text, translation, target, source) == UNTRANSLATED


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        ("A sign reads Teaching children for peace.", 'Uma placa diz "Teaching children for peace".', "pt"),
        ("The hat of The House of the Rising Sun.", "O chapéu de The House of the Rising Sun.", "pt"),
        ("A hot dog and a milkshake at a drive-in.", "Um hot dog e um milkshake em um drive-in.", "pt"),
        ("A man in a white t-shirt plays base-ball.", "Un homme en t-shirt blanc joue au base-ball.", "fr"),
        ("A rock and roll band on stage.", "Uma banda de rock and roll no palco.", "pt"),
        ("A bed and breakfast by the sea.", "Un bed and breakfast junto al mar.", "es"),
        ("A plate of fish and chips.", "Un plat de fish and chips.", "ca"),
        ("Dos hombres son en la estufa que prepara comida.", "Dois homens são na estufa que prepara comida.", "pt"),
    ],
)  # fmt: skip
def test_names_quotations_and_loan_words_are_no_leftovers(text: str, translation: str, target: str) -> None:
    source = "es" if text.startswith("Dos") else "en"
    assert reason(text, translation, target, source) is None


@pytest.mark.parametrize(
    ("text", "translation", "source", "target"),
    [
        (LONG, "Um homem de camisa vermelha não está em cima de uma rocha perto do mar.", "en", "pt"),
        ("A dog runs in the park.", "Um cachorro corre não parque.", "en", "pt"),  # "no" that became "não"
        ("A girl in uniform on a unicycle.", "Uma menina de uniforme não monociclo.", "en", "pt"),
        ("A dog runs in the park.", "Un perro no corre en el parque.", "en", "es"),
        ("A dog runs in the park.", "Ein Hund läuft nicht im Park.", "en", "de"),
        ("Un perro corre en el parque.", "Um cachorro não corre no parque.", "es", "pt"),
        ("A dog runs in the park.", "कुत्ता पार्क में नहीं दौड़ता है।", "en", "hi"),
    ],
)
def test_a_negation_that_the_source_lacks(text: str, translation: str, source: str, target: str) -> None:
    assert reason(text, translation, target, source) == NEGATED


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        ("A dog that is not on a leash.", "Um cachorro que não está na coleira.", "pt"),
        ("A dog that isn’t on a leash.", "Um cachorro que não está na coleira.", "pt"),
        ("An unpainted wooden fence.", "Uma cerca de madeira não pintada.", "pt"),
        ("A sleeveless man avoids the water.", "Un hombre sin mangas no toca el agua.", "es"),
        ("An unseen hand holds a child.", "Eine nicht sichtbare Hand hält ein Kind.", "de"),
        ("A cow in the field.", "Uma vaca no prado.", "pt"),
        ("A man looking away from the camera.", "Um homem que não olha para a câmera.", "pt"),
        ("A broken clock.", "Un reloj que no funciona.", "es"),
        ("An invisible man.", "एक आदमी जो नहीं दिखता।", "hi"),
        ("An illegible letter.", "Uma carta que não se lê.", "pt"),
        ("A step by the sea.", "Un pas prop del mar.", "ca"),
    ],
)
def test_a_negation_with_a_reason(text: str, translation: str, target: str) -> None:
    assert reason(text, translation, target) is None


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("!!!", "algo"),
        ("🐶", "cachorro"),
        ("❤️❤️", "amor"),
        ("- - -", "linha"),
        ("2012", "alguma coisa"),
        ("???", "o quê"),
    ],
)
def test_words_for_a_caption_without_any(text: str, translation: str) -> None:
    assert reason(text, translation) == WORDLESS


@pytest.mark.parametrize(
    ("text", "translation"),
    [
        ("!!!", "!!!"), ("🐶", "🐶"), ("3", "três"), ("100 €", "100 euros"), ("2 × 4", "2 × 4"), ("2012", "2012"),
        ("50%", "50 por cento"),
    ],
)  # fmt: skip
def test_numbers_may_be_words(text: str, translation: str) -> None:
    assert reason(text, translation) is None


@pytest.mark.parametrize(
    "translation",
    [
        f"{RIGHT} (em inglês)", f"{RIGHT} *b>", f"<b>{RIGHT}", f"{{\\an8}}{RIGHT}", f"{RIGHT} [/url]", f"**{RIGHT}**",
        RIGHT.replace("rocha", "&quot;rocha"), RIGHT.replace("rocha", "&lt;rocha"), f"Tradução: {RIGHT}",
        "Legendas por Fulano", "um homem - Imagem em Alta Resolução", f"{RIGHT} www.example.org",
    ],
)  # fmt: skip
def test_remains_of_markup_and_notes(translation: str) -> None:
    assert reason(LONG, translation) == JUNK


@pytest.mark.parametrize(
    ("text", "translation", "target"),
    [
        ("A Toyota Corolla in Rio de Janeiro", "Un Toyota Corolla en Rio de Janeiro", "es"),
        ("Sagrada Familia, Barcelona", "Sagrada Família, Barcelona", "pt"),
        ("BMW M3 versus Mercedes C63", "BMW M3 contra Mercedes C63", "pt"),
    ],
)
def test_names_do_not_decide_the_language(text: str, translation: str, target: str) -> None:
    assert reason(text, translation, target) is None


def test_another_language_than_both() -> None:
    assert reason(LONG, "de man met het rode shirt staat op een rots dicht bij de zee") == LANGUAGE


def test_a_check_that_is_off_drops_nothing() -> None:
    wrong = {
        "wordless": ("!!!", "algo"),
        "untranslated": (LONG, "Um homem de camisa vermelha está em cima de uma rocha near the sea."),
        "cut": (LONG, "Um homem de camisa vermelha está em cima de uma"),
        "negation": ("A dog runs in the park.", "Um cachorro corre não parque."),
    }
    for name, (text, translation) in wrong.items():
        assert objection(text, translation, "en", "pt", (name,))
        assert objection(text, translation, "en", "pt", tuple(each for each in NAMES if each != name)) is None
