import random

import pytest

from capivara_cli.languages.caption_cleaning import is_repetitive
from capivara_cli.languages.words import words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("— ! 😀 _ __", []),
        ("A red dog, 2 cats", ["A", "red", "dog", "2", "cats"]),
        ("don't l'água", ["don't", "l'água"]),
        ('Says "no", (yes) and: a.b é', ["Says", "no", "yes", "and", "a.b", "é"]),
        ("Um cão; dois gatos? Já vão!", ["Um", "cão", "dois", "gatos", "Já", "vão"]),
        ("3.5 m, 10,000 cats", ["3.5", "m", "10,000", "cats"]),
        ("a T-shirt, cat_1", ["a", "T", "shirt", "cat_1"]),
        ("சைக்கிள் ஓட்டுகிறாள்", ["சைக்கிள்", "ஓட்டுகிறாள்"]),
        ("కుక్క నీళ్ళు", ["కుక్క", "నీళ్ళు"]),
        ("क्षेत्र की लड़कियाँ", ["क्षेत्र", "की", "लड़कियाँ"]),
        ("می‌خواهم بروم", ["می‌خواهم", "بروم"]),
        ("cafe\u0301", ["cafe\u0301"]),
    ],
)
def test_words_are_cut_by_unicode_segmentation(text, words):
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("一只狗。", ["一", "只", "狗"]),
        ("犬がコンピュータを使う", ["犬", "が", "コンピュータ", "を", "使", "う"]),
        ("བོད་སྐད་ཡིག", ["བོད", "སྐད", "ཡིག"]),
        ("สุนัขสีแดง 2 ตัว", ["สุนัขสี", "แดง", "2", "ตัว"]),
        ("ໝາສີແດງ", ["ໝາສີແ", "ດງ"]),
        ("ខ្ញុំស្រលាញ់កូន", ["ខ្ញុំស្រលាញ់", "កូន"]),
        ("မြန်မာဘာသာ", ["မြန်မာဘာ", "သာ"]),
    ],
)
def test_scripts_without_spaces(text, words):
    assert words_of(text) == words


def test_no_letter_is_lost():
    for text in ("ខ្ញុំស្រលាញ់កូនឆ្កែ", "မြန်မာဘာသာစကား", "น้ำตก๓แห่ง", "ကမ္ဘာ", "ओड़िआ", "ଓଡ଼ିଆ ଭାଷା"):
        assert "".join(words_of(text)) == "".join(text.split()), text


@pytest.mark.parametrize(
    "words",
    [
        "ஒரு பெண் மிதிவண்டி ஓட்டுகிறாள் சிவப்பு நாய் கடற்கரையில் விளையாடுகிறது குழந்தைகள் பந்து மரத்தின் "
        "கீழ் அமர்ந்திருக்கிறார்கள் வெள்ளை பூனை நீல வானம் மலைகள் ஆற்றில் மீன் பிடிக்கும் மனிதன் தொப்பி "
        "அணிந்து நிற்கிறான் பழைய வீடு முன்பு பெரிய வண்டி",
        "ఒక మహిళ నడుపుతోంది ఎరుపు కుక్క సముద్రతీరంలో ఆడుకుంటున్నాయి పిల్లలు బంతితో చెట్టుకింద "
        "కూర్చుంటున్నారు తెల్లని పిల్లి నీలి ఆకాశంలో కొండలు నదిలో చేపలు పట్టుకుంటున్నాడు మనిషి టోపీ "
        "ధరించి నిలబడుతున్నాడు పాతకాలపు ఇల్లు ముందు పెద్ద బండి చూస్తున్నారు నవ్వుతున్నారు "
        "పరుగెత్తుతున్నారు",
        "ഒരു പെൺകുട്ടി സൈക്കിൾ ഓടിക്കുന്നു ചുവന്ന നായ കടൽത്തീരത്ത് കളിക്കുന്നു കുട്ടികൾ പന്തുമായി "
        "മരത്തിനടിയിൽ ഇരിക്കുന്നു വെളുത്ത പൂച്ച നീലാകാശത്തിൽ പറക്കുന്നു മലനിരകൾ നദിയിൽ മീൻപിടിക്കുന്ന "
        "മനുഷ്യൻ തൊപ്പി ധരിച്ചുകൊണ്ട് നിൽക്കുന്നു പഴയ വീടിനുമുന്നിൽ വലിയ വണ്ടി ഓടിച്ചുകൊണ്ടിരിക്കുന്നു "
        "ചിരിച്ചുകൊണ്ടിരിക്കുന്നു",
        "ಒಬ್ಬ ಮಹಿಳೆ ಸೈಕಲ್ ಓಡಿಸುತ್ತಿದ್ದಾಳೆ ಕೆಂಪು ನಾಯಿ ಸಮುದ್ರತೀರದಲ್ಲಿ ಆಡುತ್ತಿದೆ ಮಕ್ಕಳು ಚೆಂಡಿನೊಂದಿಗೆ ಮರದ "
        "ಕೆಳಗೆ ಕುಳಿತುಕೊಂಡಿದ್ದಾರೆ ಬಿಳಿ ಬೆಕ್ಕು ನೀಲಿ ಆಕಾಶದಲ್ಲಿ ಹಾರುತ್ತಿದೆ ಬೆಟ್ಟಗಳು ನದಿಯಲ್ಲಿ ಮೀನು "
        "ಹಿಡಿಯುತ್ತಿದ್ದಾನೆ ಮನುಷ್ಯ ಟೋಪಿ ಧರಿಸಿಕೊಂಡು ನಿಂತುಕೊಂಡಿದ್ದಾನೆ ಹಳೆಯ ಮನೆಯ ಮುಂದೆ ದೊಡ್ಡ ಗಾಡಿ "
        "ನೋಡುತ್ತಿದ್ದಾರೆ ನಗುತ್ತಿದ್ದಾರೆ",
        "အမျိုးသမီး စက်ဘီးစီးနေသည် ခွေးနီ ပင်လယ်ကမ်းခြေ ကစားနေကြသည် ကလေးများ ဘောလုံး သစ်ပင်အောက်တွင် "
        "ထိုင်နေကြသည် ကြောင်ဖြူ ကောင်းကင်ပြာ တောင်တန်းများ မြစ်ထဲတွင် ငါးဖမ်းနေသည် အမျိုးသား "
        "ဦးထုပ်ဆောင်းထားသည် အိမ်ဟောင်းရှေ့တွင် ကားများ ရပ်ထားသည် ပန်းများ ဝယ်နေကြသည် ဈေးသည်များ "
        "ရယ်မောနေကြသည် စားသောက်နေကြသည် လမ်းလျှောက်နေသည်",
    ],
    ids=["Tamil", "Telugu", "Malayalam", "Kannada", "Burmese"],
)
def test_captions_of_different_words_are_not_repetitive_in_any_script(words):
    rng = random.Random(0)
    distinct = words.split()
    for _ in range(50):
        assert not is_repetitive(" ".join(rng.sample(distinct, len(distinct))))


@pytest.mark.parametrize("sentence", ["犬が公園を走っています", "一只狗在公园里跑", "สุนัขวิ่งในสวน"])
def test_long_texts_without_spaces_are_not_repetitive(sentence):
    """A language has few characters, so in a long text their share falls; a stretch of 100 words is judged alone."""
    letters = sorted({char for char in sentence if char.isalpha()})
    rng = random.Random(0)
    natural = "、".join("".join(rng.sample(_KANA, 40)) + "".join(letters) for _ in range(10))
    assert not is_repetitive(natural)


_KANA = [chr(code) for code in range(0x3042, 0x3094)]


@pytest.mark.parametrize("word", ["dog", "நாய்", "కుక్క", "ສຸນັກ", "犬", "कुत्ता"])
def test_captions_of_few_words_are_repetitive_in_every_script(word):
    assert is_repetitive(" ".join([word] * 9))
    other = {"dog": "cat"}.get(word, word[::-1])
    assert is_repetitive(" ".join([word, other] * 4 + [word]))
