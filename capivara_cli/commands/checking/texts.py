"""The contracts of plugins that write or read texts: translators, rewriters, captioners, identifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from capivara_cli import languages, plugin_errors
from capivara_cli.commands.checking.points import Subject
from capivara_cli.languages import identify, translators
from capivara_cli.models.generation import Decoding, Draw, RewriteRequest, Setup, seed_of
from capivara_cli.pipeline.options import build
from capivara_cli.registry import load_command

TEXTS = ("a red square", "a dog plays in the park", "two people on a beach at sunset", "1984", "a 🦫 in the river")
_MANY = 30
_TOLERANCE = 1e-3


def check_translator(subject: Subject, plugin: Any) -> None:
    """A translator: its pairs, its names, and its answers to any number of texts."""
    declared = subject.needs("pairs", lambda: translators.pairs_of(subject.spec), _shown_pairs)
    source, target = subject.source or "en", subject.lang or "pt"
    if declared and declared != translators.ANY and not (subject.source or subject.lang):
        source, target = min(declared)
    setup = Setup(subject.device, Decoding(beams=0))

    def load() -> Any:
        translators.check(subject.spec, [(source, target)])
        return subject.guarded(plugin.load(subject.variant, source=source, target=target, setup=setup))

    translator = subject.needs("load", load, lambda _: f"{source} to {target}")

    def by() -> str:
        name = plugin_errors.attribute(translator, "by", str)
        if ":" not in name or "-" not in name.partition(":")[2]:
            raise subject.objects(f"'by' is {name!r}, not of the form NAME:SOURCE-TARGET")
        return name

    subject.holds("by", by)
    subject.holds("version", lambda: _version(translator))
    _check_answers(
        subject, lambda texts: plugin_errors.texts(translator, translator(texts), len(texts)), TEXTS, "texts"
    )
    subject.holds("an empty text", lambda: repr(*plugin_errors.texts(translator, translator([""]), 1)))


def _shown_pairs(declared: Any) -> str:
    if declared is None:
        return "not declared, so --translator auto does not use it"
    if declared == translators.ANY:
        return "any"
    shown = ", ".join("-".join(pair) for pair in sorted(declared)[:8])
    return f"{len(declared)}: {shown}" + " …" * (len(declared) > 8)


def _version(translator: Any) -> str:
    return plugin_errors.attribute(translator, "version", str, "") or "none: translations are not cached"


def check_rewriter(subject: Subject, plugin: Any) -> None:
    """A rewriter: its names, and its answers to any number of requests."""
    language = languages.get(subject.lang or "en")
    options = build(load_command("rewrite").options, rewriter=subject.spec, lang=language.code)
    setup = Setup(subject.device, Decoding(options.max_tokens, 1, options.temperature, options.top_p))

    def load() -> Any:
        return subject.guarded(plugin.load(subject.variant, language=language, setup=setup, options=options))

    rewriter = subject.needs("load", load, lambda _: language.name)

    def by() -> str:
        name = plugin_errors.attribute(rewriter, "by", str)
        if not name.startswith("rewrite:"):
            raise subject.objects(f"'by' is {name!r}, which does not begin with rewrite:")
        return name

    subject.holds("by", by)
    subject.holds("exemplars", lambda: _exemplars(rewriter))
    requests = [RewriteRequest(text, seed_of(0, text), number) for number, text in enumerate(TEXTS)]
    _check_answers(
        subject, lambda given: plugin_errors.texts(rewriter, rewriter(given), len(given)), requests, "requests"
    )


def _exemplars(rewriter: Any) -> str:
    found = getattr(rewriter, "exemplars", ())
    return f"{len(plugin_errors.texts(rewriter, list(found) if isinstance(found, Set) else found, what='exemplars'))}"


def _check_answers(subject: Subject, ask: Callable[[list[Any]], list[str]], items: Sequence[Any], what: str) -> None:
    """The number and type of the answers to no, one and many questions, their order, and whether they repeat."""
    many = [items[number % len(items)] for number in range(_MANY)]
    subject.holds(f"no {what}", lambda: _nothing(ask([])))
    subject.holds(f"1 {what[:-1]}", lambda: repr(ask([items[0]])[0]))
    if not subject.holds(f"{_MANY} {what}", lambda: _nothing(ask(many))):
        return

    def order() -> str:
        alone = [ask([each])[0] for each in items]
        together, turned = ask(list(items)), ask(list(reversed(items)))[::-1]
        for one, *others in zip(alone, together, turned, strict=True):
            if [one, one] != others:
                raise subject.objects(f"{one!r} alone, {others[0]!r} and {others[1]!r} among others")
        return "the same answers alone and among others"

    def again() -> str:
        if (first := ask(list(items))) != (second := ask(list(items))):
            before, now = next(pair for pair in zip(first, second, strict=True) if pair[0] != pair[1])
            raise subject.objects(f"{before!r}, and {now!r} when it was asked again")
        return "the same answers"

    subject.holds("order", order)
    subject.holds("asked again", again)


def _nothing(answers: list[str]) -> str:
    return ""


def check_identifier(subject: Subject, plugin: Any) -> None:
    """An identifier: its codes, and the probabilities that it gives."""
    subject.needs("load", lambda: subject.guarded(plugin.load(subject.variant)))
    codes = subject.needs("codes", lambda: identify.supported_codes(subject.spec), lambda codes: f"{len(codes)}")

    def answers(text: str) -> str:
        found = identify.probabilities(text, subject.spec)
        values = list(found.values())
        if values != sorted(values, reverse=True):
            raise subject.objects(f"{found}: the likeliest code is not the first")
        if sum(values) > 1 + _TOLERANCE:
            raise subject.objects(f"{found}: the probabilities add up to more than 1")
        if unknown := found.keys() - codes:
            raise subject.objects(f"{min(unknown)!r} is not among its codes")
        if found != identify.probabilities(text, subject.spec):
            raise subject.objects(f"other probabilities for {text!r} when it was asked again")
        if values and identify.likeliest(text, subject.spec)[0] != next(iter(found)):
            raise subject.objects(f"likeliest({text!r}) is not the first of its probabilities")
        return next(iter(found), "none")

    for text in (*TEXTS[1:3], "um cão na praia à noite"):
        subject.holds(f"{text!r}", lambda text=text: answers(text))  # type: ignore[misc]
    subject.holds("an empty text", lambda: answers(""))


def check_captioner(subject: Subject, plugin: Any) -> None:
    """A captioner: its prompts, and its texts for one and for several images."""
    language = languages.get(subject.lang or "en")
    captioner = subject.needs(
        "load", lambda: subject.guarded(plugin.load(subject.variant, setup=Setup(subject.device)))
    )
    subject.holds("by", lambda: plugin_errors.attribute(captioner, "by", str))
    subject.holds("batch_size", lambda: _batch_size(subject, captioner))
    prompts = subject.needs("prompts", lambda: _prompts(subject, captioner, language), lambda found: repr(found[0]))

    def prepared() -> list[Any]:
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(captioner.prepare, _images()))

    images = subject.needs("prepare, in threads", prepared)
    draws = [Draw(prompts[0]), Draw(prompts[-1], seed_of("check"))]

    def ask(given: list[Any]) -> list[str]:
        texts_of = captioner(given)
        if not callable(texts_of):
            raise subject.objects(f"returned {plugin_errors.shown(texts_of)}, not a function")
        found = [_texts(captioner, texts_of([draws for _ in given]), len(given)) for _ in range(2)]
        if found[0] != found[1]:
            raise subject.objects("other texts when the function was called again")
        return [" | ".join(texts) for texts in found[0]]

    subject.holds("1 image", lambda: repr(ask(images[:1])[0]))
    if subject.holds(f"{len(images)} images", lambda: _nothing(ask(images))):
        subject.holds("order", lambda: _same_alone(subject, ask, images))


def _same_alone(subject: Subject, ask: Callable[[list[Any]], list[str]], images: list[Any]) -> str:
    for together, image in zip(ask(images), images, strict=True):
        if (alone := ask([image])[0]) != together:
            raise subject.objects(f"{alone!r} alone, {together!r} among others")
    return "the same texts alone and among others"


def _texts(captioner: Any, answer: Any, count: int) -> list[list[str]]:
    found = plugin_errors.as_list(captioner, answer, "lists of texts", count, " images")
    return [plugin_errors.texts(captioner, each, 2) for each in found]


def _prompts(subject: Subject, captioner: Any, language: languages.Language) -> list[str]:
    found = plugin_errors.texts(captioner, captioner.prompts(language), what="prompts")
    if not found:
        raise subject.objects(f"no prompts for {language.name}")
    return found


def _batch_size(subject: Subject, captioner: Any) -> str:
    size = plugin_errors.attribute(captioner, "batch_size", int)
    if size < 1:
        raise subject.objects(f"'batch_size' is {size}, not at least 1")
    return f"{size}"


def _images() -> list[Any]:
    from PIL import Image

    colours = [(220, 40, 40), (40, 180, 60), (50, 80, 220), (250, 250, 250), (10, 10, 10)]
    return [Image.new("RGB", (64 + 9 * number, 80), colour) for number, colour in enumerate(colours)]
