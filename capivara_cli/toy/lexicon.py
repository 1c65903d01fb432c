"""The words of the toy world in four languages, as tables.

Each English word (`big` or `huge`) has exactly one counterpart per language, so translation from English is a function
and a very small model can learn it. `grammar` has the rules that inflect these words.
"""

from __future__ import annotations

LANGUAGES = ("en", "pt", "hi", "xh")

# --- nouns ------------------------------------------------------------------------------------------------------
EN_NOUNS = {  # singular, plural
    "ball": ("ball", "balls"),
    "box": ("box", "boxes"),
    "star": ("star", "stars"),
    "heart": ("heart", "hearts"),
    "boat": ("boat", "boats"),
    "tree": ("tree", "trees"),
    "house": ("house", "houses"),
    "fish": ("fish", "fish"),
    "hat": ("hat", "hats"),
    "leaf": ("leaf", "leaves"),
}
PT_NOUNS = {  # gender, singular, plural
    "ball": ("f", "bola", "bolas"),
    "box": ("f", "caixa", "caixas"),
    "star": ("f", "estrela", "estrelas"),
    "heart": ("m", "coração", "corações"),
    "boat": ("m", "barco", "barcos"),
    "tree": ("f", "árvore", "árvores"),
    "house": ("f", "casa", "casas"),
    "fish": ("m", "peixe", "peixes"),
    "hat": ("m", "chapéu", "chapéus"),
    "leaf": ("f", "folha", "folhas"),
}
HI_NOUNS = {  # gender, then direct singular and plural, oblique singular and plural
    "ball": ("f", "गेंद", "गेंदें", "गेंद", "गेंदों"),
    "box": ("m", "डिब्बा", "डिब्बे", "डिब्बे", "डिब्बों"),
    "star": ("m", "तारा", "तारे", "तारे", "तारों"),
    "heart": ("m", "दिल", "दिल", "दिल", "दिलों"),
    "boat": ("f", "नाव", "नावें", "नाव", "नावों"),
    "tree": ("m", "पेड़", "पेड़", "पेड़", "पेड़ों"),
    "house": ("m", "घर", "घर", "घर", "घरों"),
    "fish": ("f", "मछली", "मछलियाँ", "मछली", "मछलियों"),
    "hat": ("f", "टोपी", "टोपियाँ", "टोपी", "टोपियों"),
    "leaf": ("m", "पत्ता", "पत्ते", "पत्ते", "पत्तों"),
}
XH_NOUNS = {  # (noun class, form) of the singular and of the plural
    "ball": ((9, "ibhola"), (10, "iibhola")),
    "box": ((9, "ibhokisi"), (10, "iibhokisi")),
    "star": ((9, "inkwenkwezi"), (10, "iinkwenkwezi")),
    "heart": ((9, "intliziyo"), (10, "iintliziyo")),
    "boat": ((7, "isikhephe"), (8, "izikhephe")),
    "tree": ((3, "umthi"), (4, "imithi")),
    "house": ((9, "indlu"), (10, "izindlu")),
    "fish": ((9, "intlanzi"), (10, "iintlanzi")),
    "hat": ((3, "umnqwazi"), (4, "iminqwazi")),
    "leaf": ((5, "igqabi"), (6, "amagqabi")),
}

# --- qualifiers: two words for each size and pattern ------------------------------------------------------------
EN_SIZES = {"small": ("small", "tiny"), "big": ("big", "huge")}
EN_PATTERNS = {"plain": ("", ""), "striped": ("striped", "with stripes"), "spotted": ("spotted", "with spots")}

# Portuguese adjectives: masculine and feminine singular, masculine and feminine plural.
PT_COLORS = {
    "red": ("vermelho", "vermelha", "vermelhos", "vermelhas"),
    "blue": ("azul", "azul", "azuis", "azuis"),
    "green": ("verde", "verde", "verdes", "verdes"),
    "yellow": ("amarelo", "amarela", "amarelos", "amarelas"),
    "white": ("branco", "branca", "brancos", "brancas"),
    "black": ("preto", "preta", "pretos", "pretas"),
}
PT_SIZES = {
    "small": (("pequeno", "pequena", "pequenos", "pequenas"), ("minúsculo", "minúscula", "minúsculos", "minúsculas")),
    "big": (("grande", "grande", "grandes", "grandes"), ("enorme", "enorme", "enormes", "enormes")),
}
PT_PATTERNS = {
    "plain": (("",) * 4, ("",) * 4),
    "striped": (("listrado", "listrada", "listrados", "listradas"), ("com listras",) * 4),
    "spotted": (("manchado", "manchada", "manchados", "manchadas"), ("com manchas",) * 4),
}
PT_COUNTS = {1: ("um", "uma"), 2: ("dois", "duas"), 3: ("três", "três")}

# Hindi adjectives: masculine direct singular, masculine otherwise, feminine.
HI_COLORS = {
    "red": ("लाल",) * 3,
    "blue": ("नीला", "नीले", "नीली"),
    "green": ("हरा", "हरे", "हरी"),
    "yellow": ("पीला", "पीले", "पीली"),
    "white": ("सफ़ेद",) * 3,
    "black": ("काला", "काले", "काली"),
}
HI_SIZES = {
    "small": (("छोटा", "छोटे", "छोटी"), ("नन्हा", "नन्हे", "नन्ही")),
    "big": (("बड़ा", "बड़े", "बड़ी"), ("विशाल",) * 3),
}
HI_PATTERNS = {
    "plain": (("",) * 3, ("",) * 3),
    "striped": (("धारीदार",) * 3, ("धारियों वाला", "धारियों वाले", "धारियों वाली")),
    "spotted": (("चित्तीदार",) * 3, ("धब्बों वाला", "धब्बों वाले", "धब्बों वाली")),
}
HI_COUNTS = {1: "एक", 2: "दो", 3: "तीन"}

# Xhosa: colours and patterns are relatives (relative concord + stem), sizes and numbers adjectives.
XH_COLORS = {
    "red": "bomvu",
    "blue": "blowu",
    "green": "luhlaza",
    "yellow": "mthubi",
    "white": "mhlophe",
    "black": "mnyama",
}
XH_PATTERNS = {
    "plain": ("", ""),
    "striped": ("nemigca", "nemigca emide"),  # having lines, having long lines
    "spotted": ("namachaphaza", "namachokoza"),
}
XH_RELATIVE = {3: "o", 4: "e", 5: "eli", 6: "a", 7: "esi", 8: "ezi", 9: "e", 10: "ezi"}
XH_ADJECTIVE = {3: "om", 4: "emi", 5: "eli", 6: "ama", 7: "esi", 8: "ezi", 9: "en", 10: "ezin"}
XH_SIZES = {"small": ("ncinci", "ncinane"), "big": ("khulu", "khulu kakhulu")}
XH_COUNTS = {2: "bini", 3: "thathu"}
# The nasal of classes 9 and 10 changes the next sound: n + kh is nk, n + th is nt, n + b is mb, n + n is n.
XH_NASAL = {"nkh": "nk", "nth": "nt", "nb": "mb", "nn": "n"}

# --- places -----------------------------------------------------------------------------------------------------
PLACES = {
    "en": {"grass": "on the grass", "sand": "on the sand", "snow": "in the snow", "night": "at night"},
    "pt": {"grass": "na grama", "sand": "na areia", "snow": "na neve", "night": "à noite"},
    "hi": {"grass": "घास पर", "sand": "रेत पर", "snow": "बर्फ़ में", "night": "रात में"},
    "xh": {"grass": "engceni", "sand": "esantini", "snow": "ekhephini", "night": "ebusuku"},
}
# Two phrases for each relation; Xhosa ends in the possessive or locative consonant that the next noun coalesces with.
RELATIONS = {
    "en": {
        "left": ("to the left of", "on the left side of"),
        "right": ("to the right of", "on the right side of"),
        "above": ("above", "over"),
        "below": ("below", "under"),
    },
    "pt": {
        "left": ("à esquerda de", "do lado esquerdo de"),
        "right": ("à direita de", "do lado direito de"),
        "above": ("acima de", "por cima de"),
        "below": ("abaixo de", "por baixo de"),
    },
    "hi": {
        "left": ("के बाईं ओर", "की बाईं तरफ़"),
        "right": ("के दाईं ओर", "की दाईं तरफ़"),
        "above": ("के ऊपर", "से ऊपर"),
        "below": ("के नीचे", "से नीचे"),
    },
    "xh": {
        "left": ("ngasekhohlo kw", "kwicala lasekhohlo l"),
        "right": ("ngasekunene kw", "kwicala lasekunene l"),
        "above": ("phezu kw", "ngaphezu kw"),
        "below": ("phantsi kw", "ngaphantsi kw"),
    },
}

# --- whole sentences, one column per frame; `{np}` is the noun phrase, `{at}` the place -----------------------------
FRAMES = {
    "en": ("{np} {at}", "a drawing of {np} {at}", "a scene with {np} {at}", "there {be} {np} {at}", "{at} we see {np}"),
    "pt": ("{np} {at}", "um desenho de {np} {at}", "uma cena com {np} {at}", "há {np} {at}", "{at} vemos {np}"),
    "hi": ("{at} {np}", "{at} {np} का चित्र", "{at} {np} वाला दृश्य", "{at} {np} {be}", "{at} हमें {np} {seen}"),
    "xh": ("{np} {at}", "umzobo {np} {at}", "umboniso o{np} {at}", "kukho {np} {at}", "{at} sibona {np}"),
}
NOUN_PHRASE_FRAMES = (0, 1, 2)  # the frames that fit after "a photo of" or "the picture shows"

CLASS_NAMES = {
    "en": {shape: forms[0] for shape, forms in EN_NOUNS.items()},
    "pt": {shape: forms[1] for shape, forms in PT_NOUNS.items()},
    "hi": {shape: forms[1] for shape, forms in HI_NOUNS.items()},
    "xh": {shape: forms[0][1] for shape, forms in XH_NOUNS.items()},
}
# The Portuguese, Hindi and Xhosa templates need the noun in its dictionary form, for every gender and class.
TEMPLATES = {
    "en": ["a {}", "a drawing of a {}", "there is a {}"],
    "pt": ["{}", "desenho de {}", "uma cena com {}"],
    "hi": ["{}", "चित्र में {}", "यहाँ {}"],
    "xh": ["{}", "kukho {}", "sibona {}"],
}

# --- alt-text without information -----------------------------------------------------------------------------------
VAGUE = (
    "image",
    "my favourite picture of the day",
    "colourful clip art",
    "a nice scene",
    "stock photo, free download",
    "untitled",
    "something pretty to look at",
    "holiday 2019",
)
