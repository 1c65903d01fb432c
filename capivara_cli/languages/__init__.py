"""One line per language: its BCP-47 code, script, and what FLORES, Argos Translate and Apertium call it.

The captions of a sample carry the BCP-47 code; every translator looks up its own code here. Sources: the FLORES-200
list of languages, the Argos Translate package index, and ISO 639-3, which Apertium's mode names follow.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from functools import cache

from capivara_cli.errors import CapivaraError


@dataclass(frozen=True, slots=True)
class Language:
    """``code`` is BCP-47, ``script`` ISO 15924, ``flores`` "" where FLORES-200 lacks the language.

    ``argos`` and ``apertium`` hold every code these translators use for it, the usual one first; an entry says what
    the language would be called, not that a package exists.
    """

    code: str
    name: str
    script: str
    flores: str
    argos: tuple[str, ...]
    apertium: tuple[str, ...]


# code, script, FLORES, Argos, Apertium, name; "-" where there is none.
_TABLE = """
ace       Latn ace -     ace         Acehnese
ace-Arab  Arab ace -     -           Acehnese (Arabic script)
acm       Arab acm -     acm         Mesopotamian Arabic
acq       Arab acq -     acq         Ta'izzi-Adeni Arabic
aeb       Arab aeb -     aeb         Tunisian Arabic
af        Latn afr -     afr         Afrikaans
ajp       Arab ajp -     ajp         South Levantine Arabic
ak        Latn aka -     aka         Akan
am        Ethi amh -     amh         Amharic
an        Latn -   -     arg         Aragonese
apc       Arab apc -     apc         North Levantine Arabic
ar        Arab arb ar    ara,arb     Arabic
ar-Latn   Latn arb -     -           Arabic (Latin script)
ars       Arab ars -     ars         Najdi Arabic
ary       Arab ary -     ary         Moroccan Arabic
arz       Arab arz -     arz         Egyptian Arabic
as        Beng asm -     asm         Assamese
ast       Latn ast -     ast         Asturian
awa       Deva awa -     awa         Awadhi
ay        Latn ayr -     aym,ayr     Aymara
az        Latn azj az    aze,azj     Azerbaijani
azb       Arab azb -     azb         South Azerbaijani
ba        Cyrl bak -     bak         Bashkir
ban       Latn ban -     ban         Balinese
be        Cyrl bel -     bel         Belarusian
bem       Latn bem -     bem         Bemba
bg        Cyrl bul bg    bul         Bulgarian
bho       Deva bho -     bho         Bhojpuri
bjn       Latn bjn -     bjn         Banjar
bjn-Arab  Arab bjn -     -           Banjar (Arabic script)
bm        Latn bam -     bam         Bambara
bn        Beng ben bn    ben         Bengali
bo        Tibt bod -     bod         Tibetan
br        Latn -   -     bre         Breton
bs        Latn bos -     bos,hbs     Bosnian
bug       Latn bug -     bug         Buginese
ca        Latn cat ca    cat         Catalan
ceb       Latn ceb -     ceb         Cebuano
cjk       Latn cjk -     cjk         Chokwe
ckb       Arab ckb -     ckb         Central Kurdish
co        Latn -   -     cos         Corsican
crh       Latn crh -     crh         Crimean Tatar
cs        Latn ces cs    ces         Czech
cv        Cyrl -   -     chv         Chuvash
cy        Latn cym -     cym         Welsh
da        Latn dan da    dan         Danish
de        Latn deu de    deu         German
dik       Latn dik -     dik         Southwestern Dinka
dyu       Latn dyu -     dyu         Dyula
dz        Tibt dzo -     dzo         Dzongkha
ee        Latn ewe -     ewe         Ewe
el        Grek ell el    ell         Greek
en        Latn eng en    eng         English
eo        Latn epo eo    epo         Esperanto
es        Latn spa es    spa         Spanish
et        Latn est et    est         Estonian
eu        Latn eus eu    eus         Basque
fa        Arab pes fa    pes,fas     Persian
fi        Latn fin fi    fin         Finnish
fj        Latn fij -     fij         Fijian
fo        Latn fao -     fao         Faroese
fon       Latn fon -     fon         Fon
fr        Latn fra fr    fra         French
fur       Latn fur -     fur         Friulian
fuv       Latn fuv -     fuv         Nigerian Fulfulde
fy        Latn -   -     fry         Western Frisian
ga        Latn gle ga    gle         Irish
gd        Latn gla -     gla         Scottish Gaelic
gl        Latn glg gl    glg         Galician
gn        Latn grn -     grn,gug     Guarani
gu        Gujr guj -     guj         Gujarati
ha        Latn hau -     hau         Hausa
he        Hebr heb he    heb         Hebrew
hi        Deva hin hi    hin         Hindi
hne       Deva hne -     hne         Chhattisgarhi
hr        Latn hrv -     hrv,hbs     Croatian
hsb       Latn -   -     hsb         Upper Sorbian
ht        Latn hat -     hat         Haitian Creole
hu        Latn hun hu    hun         Hungarian
hy        Armn hye -     hye         Armenian
id        Latn ind id    ind         Indonesian
ig        Latn ibo -     ibo         Igbo
ilo       Latn ilo -     ilo         Ilocano
is        Latn isl -     isl         Icelandic
it        Latn ita it    ita         Italian
ja        Jpan jpn ja    jpn         Japanese
jv        Latn jav -     jav         Javanese
ka        Geor kat -     kat         Georgian
kab       Latn kab -     kab         Kabyle
kac       Latn kac -     kac         Jingpho
kam       Latn kam -     kam         Kamba
kbp       Latn kbp -     kbp         Kabiyè
kea       Latn kea -     kea         Kabuverdianu
kg        Latn kon -     kon         Kongo
ki        Latn kik -     kik         Kikuyu
kk        Cyrl kaz -     kaz         Kazakh
km        Khmr khm -     khm         Khmer
kmb       Latn kmb -     kmb         Kimbundu
kn        Knda kan -     kan         Kannada
ko        Hang kor ko    kor         Korean
kr        Latn knc -     kau,knc     Kanuri
kr-Arab   Arab knc -     -           Kanuri (Arabic script)
ks        Arab kas -     kas         Kashmiri
ks-Deva   Deva kas -     -           Kashmiri (Devanagari script)
ku        Latn kmr -     kmr,kur     Northern Kurdish
ky        Cyrl kir ky    kir         Kyrgyz
la        Latn -   -     lat         Latin
lb        Latn ltz -     ltz         Luxembourgish
lg        Latn lug -     lug         Ganda
li        Latn lim -     lim         Limburgish
lij       Latn lij -     lij         Ligurian
lmo       Latn lmo -     lmo         Lombard
ln        Latn lin -     lin         Lingala
lo        Laoo lao -     lao         Lao
lt        Latn lit lt    lit         Lithuanian
ltg       Latn ltg -     ltg         Latgalian
lua       Latn lua -     lua         Luba-Kasai
luo       Latn luo -     luo         Luo
lus       Latn lus -     lus         Mizo
lv        Latn lvs lv    lvs,lav     Latvian
mag       Deva mag -     mag         Magahi
mai       Deva mai -     mai         Maithili
mg        Latn plt -     mlg,plt     Malagasy
mi        Latn mri -     mri         Maori
min       Latn min -     min         Minangkabau
min-Arab  Arab min -     -           Minangkabau (Arabic script)
mk        Cyrl mkd -     mkd         Macedonian
ml        Mlym mal -     mal         Malayalam
mn        Cyrl khk -     mon,khk     Mongolian
mni       Beng mni -     mni         Meitei
mos       Latn mos -     mos         Mossi
mr        Deva mar -     mar         Marathi
ms        Latn zsm ms    zlm,msa,zsm Malay
mt        Latn mlt -     mlt         Maltese
my        Mymr mya -     mya         Burmese
nb        Latn nob nb    nob,nor     Norwegian Bokmål
ne        Deva npi -     nep,npi     Nepali
nl        Latn nld nl    nld         Dutch
nn        Latn nno -     nno,nor     Norwegian Nynorsk
nso       Latn nso -     nso         Northern Sotho
nus       Latn nus -     nus         Nuer
ny        Latn nya -     nya         Nyanja
oc        Latn oci -     oci         Occitan
om        Latn gaz -     orm,gaz     Oromo
or        Orya ory -     ori,ory     Odia
pa        Guru pan -     pan         Punjabi
pag       Latn pag -     pag         Pangasinan
pap       Latn pap -     pap         Papiamento
pl        Latn pol pl    pol         Polish
prs       Arab prs -     prs         Dari
ps        Arab pbt -     pus,pbt     Pashto
pt        Latn por pt,pb por         Portuguese
qu        Latn quy -     que,quy,quz Quechua
rm        Latn -   -     roh         Romansh
rn        Latn run -     run         Rundi
ro        Latn ron ro    ron         Romanian
ru        Cyrl rus ru    rus         Russian
rw        Latn kin -     kin         Kinyarwanda
sa        Deva san -     san         Sanskrit
sat       Olck sat -     sat         Santali
sc        Latn srd -     srd         Sardinian
scn       Latn scn -     scn         Sicilian
sd        Arab snd -     snd         Sindhi
se        Latn -   -     sme         Northern Sami
sg        Latn sag -     sag         Sango
shn       Mymr shn -     shn         Shan
si        Sinh sin -     sin         Sinhala
sk        Latn slk sk    slk         Slovak
sl        Latn slv sl    slv         Slovenian
sm        Latn smo -     smo         Samoan
sn        Latn sna -     sna         Shona
so        Latn som -     som         Somali
sq        Latn als sq    sqi,als     Albanian
sr        Cyrl srp sr    srp,hbs     Serbian
ss        Latn ssw -     ssw         Swati
st        Latn sot -     sot         Southern Sotho
su        Latn sun -     sun         Sundanese
sv        Latn swe sv    swe         Swedish
sw        Latn swh sw    swa,swh     Swahili
szl       Latn szl -     szl         Silesian
ta        Taml tam -     tam         Tamil
taq       Latn taq -     taq         Tamasheq
taq-Tfng  Tfng taq -     -           Tamasheq (Tifinagh script)
te        Telu tel -     tel         Telugu
tg        Cyrl tgk -     tgk         Tajik
th        Thai tha th    tha         Thai
ti        Ethi tir -     tir         Tigrinya
tk        Latn tuk -     tuk         Turkmen
tl        Latn tgl tl    tgl,fil     Tagalog
tn        Latn tsn -     tsn         Tswana
tpi       Latn tpi -     tpi         Tok Pisin
tr        Latn tur tr    tur         Turkish
ts        Latn tso -     tso         Tsonga
tt        Cyrl tat -     tat         Tatar
tum       Latn tum -     tum         Tumbuka
tw        Latn twi -     twi         Twi
tzm       Tfng tzm -     tzm         Central Atlas Tamazight
ug        Arab uig -     uig         Uyghur
uk        Cyrl ukr uk    ukr         Ukrainian
umb       Latn umb -     umb         Umbundu
ur        Arab urd ur    urd         Urdu
uz        Latn uzn -     uzb,uzn     Uzbek
vec       Latn vec -     vec         Venetian
vi        Latn vie vi    vie         Vietnamese
war       Latn war -     war         Waray
wo        Latn wol -     wol         Wolof
xh        Latn xho -     xho         Xhosa
yi        Hebr ydd -     yid,ydd     Yiddish
yo        Latn yor -     yor         Yoruba
yue       Hant yue -     yue         Cantonese
zh        Hans zho zh    zho         Chinese
zh-Hant   Hant zho zt    -           Chinese (Traditional)
zu        Latn zul -     zul         Zulu
"""

# What people and data sets write instead: retired codes, ISO 639-2/B, country codes taken for languages, other names.
_ALIASES = """
jp ja   iw he   in id   ji yi   cn zh   cz cs   gr el   dk da   no nb   nor nb   fil tl   mo ro   sh sr   zh-cn zh
zh-sg zh   zh-tw zh-Hant   zh-hk zh-Hant   zh-mo zh-Hant   fa-af prs   pt-br pt   pt-pt pt   ara ar   aze az   lav lv
fas fa   msa ms   mon mn   nep ne   ori or   orm om   pus ps   que qu   sqi sq   swa sw   uzb uz   yid yi   kur ku
mlg mg   kau kr   aym ay   hbs hr   chi zh   ger de   fre fr   dut nl   gre el   per fa   rum ro   slo sk   alb sq
arm hy   baq eu   bur my   cze cs   geo ka   ice is   mac mk   mao mi   may ms   tib bo   wel cy   farsi fa
isixhosa xh   isizulu zu   kiswahili sw   castilian es   filipino tl   norwegian nb   kurdish ku   valencian ca
mandarin zh   oriya or   burmese my   flemish nl   sorani ckb   kurmanji ku   português pt   portugues pt
español es   deutsch de   français fr   english en   हिन्दी hi   हिंदी hi   català ca   galego gl   中文 zh   日本語 ja
"""


def _split(column: str) -> tuple[str, ...]:
    return () if column == "-" else tuple(column.split(","))


def _language(line: str) -> Language:
    code, script, flores, argos, apertium, name = line.split(maxsplit=5)
    return Language(code, name, script, "" if flores == "-" else f"{flores}_{script}", _split(argos), _split(apertium))


@cache
def _languages() -> dict[str, Language]:
    languages = (_language(line) for line in _TABLE.strip().splitlines())
    return {language.code: language for language in languages}


@cache
def _names() -> dict[str, str]:
    """Every name a language answers to, folded -> its code; where two claim one, the more specific kind wins."""
    known: dict[str, str] = {}

    def claim(name: str, code: str) -> None:
        known.setdefault(_fold(name), code)

    for code in _languages():
        claim(code, code)
    words = _ALIASES.split()
    for alias, code in zip(words[::2], words[1::2], strict=True):
        claim(alias, code)
    for language in _languages().values():
        claim(language.name, language.code)
        claim(language.flores or language.code, language.code)
    for language in _languages().values():
        for name in (*language.argos, *language.apertium, language.flores.partition("_")[0] or language.code):
            claim(name, language.code)
    return known


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", "-").split())


def codes() -> list[str]:
    """Every BCP-47 code, sorted."""
    return sorted(_languages())


def knows(code: str) -> bool:
    """Whether this is the BCP-47 code of a language in the table, and not another of its names."""
    return code in _languages()


def get(code: str) -> Language:
    """The language a code or name means: ``pt``, ``por``, ``pt-BR``, ``por_Latn`` and ``Portuguese`` are one.

    A region is ignored, a script is not (``sr-Latn`` is no ``sr``, which is Cyrillic). Raises ``CapivaraError`` with a
    guess for a language that is not in the table.
    """
    folded = _fold(code)
    names = _names()
    if folded in names:
        return _languages()[names[folded]]
    head, _, rest = folded.partition("-")
    if head in names:
        language = _languages()[names[head]]
        scripts = [part for part in rest.split("-") if len(part) == 4 and part.isalpha()]
        if all(script == language.script.casefold() for script in scripts) and _is_region(rest.split("-")[-1]):
            return language
    raise _unknown(code, folded)


@cache
def code_of(lang: str) -> str:
    """The BCP-47 code of whatever a caption says its language is ("por", "pt-BR"); unknown ones stay as they are."""
    try:
        return get(lang).code
    except CapivaraError:
        return lang


def _is_region(part: str) -> bool:
    """A BCP-47 region (``BR``, ``419``) or a script, which ``get`` has compared already."""
    return (len(part) in (2, 4) and part.isalpha()) or (len(part) == 3 and part.isdigit())


def _unknown(code: str, folded: str) -> CapivaraError:
    """Not ``errors.unknown``: a list of two hundred codes hides the guess."""
    import difflib

    message = f"there is no language {code!r}"
    # A close name outranks a close code: every two letters are one step from some language's code.
    named = {name: known for name, known in _names().items() if len(name) > 3}
    if close := difflib.get_close_matches(folded, named, n=1, cutoff=0.7):
        language = _languages()[named[close[0]]]
        message += f" — did you mean {language.code} ({language.name})?"
    elif close := difflib.get_close_matches(folded, _names(), n=3, cutoff=0.6):
        guesses = dict.fromkeys(_names()[name] for name in close)
        message += " — did you mean " + " or ".join(f"{guess} ({_languages()[guess].name})" for guess in guesses) + "?"
    return CapivaraError(message, f"`capivara list languages` shows all {len(_languages())} codes and names")


def flores(code: str, *, among: Container[str], default: str) -> str:
    """The Flores-200 code of a language, where ``among`` has it; else ``default``."""
    try:
        found = get(code).flores
    except CapivaraError:
        return default
    return found if found in among else default
