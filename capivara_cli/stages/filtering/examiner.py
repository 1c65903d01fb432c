"""Find the facts of each sample: apply the rules for images and texts, embed the image, score the captions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.images import decode_image, image_size
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filtering.chains import with_judges, with_stored_judge_scores
from capivara_cli.stages.filtering.image_rules import ImageRules
from capivara_cli.stages.filtering.sample_facts import SampleFacts, Scoring
from capivara_cli.stages.filtering.text_rules import TextRules

if TYPE_CHECKING:
    from capivara_cli.models.clip import Clip


@dataclass(frozen=True)
class SampleExaminer:
    """Examines ``batch_size`` samples at a time. Without a ``clip``, images are read only if a rule needs them."""

    clip: Clip | None
    scoring: Scoring
    texts: TextRules
    images: ImageRules
    batch_size: int

    def examine(self, samples: Iterable[Sample], env: Env) -> Iterator[tuple[Sample, SampleFacts]]:
        """Yield every sample with its facts, in order, and unusable samples too. Counts nothing in ``env``."""
        if self.clip is None and self.images == ImageRules():  # without images, threads cost more than they save
            return ((sample, self._prepare(sample).set_scores(self.scoring)) for sample in samples)
        return map_batched(samples, self._prepare, self._process(), size=self.batch_size, env=env)

    def _process(self) -> Callable[[list[SampleFacts]], Sequence[SampleFacts]]:
        """The function that scores a batch of prepared samples."""
        if self.clip is None:
            return lambda batch: [facts.set_scores(self.scoring) for facts in batch]
        from capivara_cli.stages.filtering.scoring import Scorer  # imports torch

        return Scorer(self.clip, self.scoring)

    def _prepare(self, sample: Sample) -> SampleFacts:
        try:
            return self._facts(sample)
        except BadSample as error:
            return SampleFacts([], dropped=error.reason, failed=True)

    def _facts(self, sample: Sample) -> SampleFacts:
        facts = SampleFacts(self._captions(sample))
        if self.images.needs_size:
            facts.dropped = self.images.size_objection(*image_size(sample))
        if not facts.dropped:
            self._examine_image(sample, facts)
        if not facts.dropped:
            objections = ((index, self._text_objection(each)) for index, each in enumerate(facts.captions))
            facts.removed = {index: objection for index, objection in objections if objection}
        return facts

    def _captions(self, sample: Sample) -> list[Caption]:
        """The captions of a sample, with the texts that judge them if those can decide."""
        if self.scoring.by == "text":
            return sample.captions
        captions = with_judges(sample.captions, self.scoring.is_wanted)
        return captions if self.clip is not None else with_stored_judge_scores(captions, self.scoring.is_wanted)

    def _examine_image(self, sample: Sample, facts: SampleFacts) -> None:
        """Apply the rules for pixels, then prepare the input of the image tower."""
        whole = decode_image(sample) if self.images.needs_pixels else None
        if whole is not None:
            facts.dropped = self.images.pixel_objection(whole)
        if self.clip is not None and not facts.dropped:
            from capivara_cli.models.image_vectors import stored_or_pixels  # imports numpy

            facts.prepared = stored_or_pixels(self.clip, sample, whole)

    def _text_objection(self, caption: Caption) -> str:
        return self.texts.objection(caption.text, caption.lang) if self.scoring.is_wanted(caption) else ""
