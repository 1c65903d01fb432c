"""What is found out about each sample before anything is selected: rules, embeddings of images, scores of captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.embedding import stored_embedding
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filtering.image_rules import ImageRules
from capivara_cli.stages.filtering.scoring import Looked, Scorer, Scoring
from capivara_cli.stages.filtering.text_rules import TextRules

if TYPE_CHECKING:
    from capivara_cli.models.clip import Clip


@dataclass(frozen=True)
class Looker:
    """Looks at samples, ``size`` at a time; without a ``clip`` at texts, and images if rules ask for it, alone."""

    clip: Clip | None
    scoring: Scoring
    texts: TextRules
    images: ImageRules
    size: int

    def over(self, samples: Iterable[Sample], env: Env) -> Iterator[tuple[Sample, Looked]]:
        """Every sample with what was found, in order; one that cannot be used too. Counts nothing."""
        if self.clip is None and self.images == ImageRules():  # threads cost more than they save where no image is read
            return ((sample, self._prepared(sample).judge(self.scoring)) for sample in samples)
        score = Scorer(self.clip, self.scoring) if self.clip else self._judged
        return map_batched(samples, self._prepared, score, size=self.size, env=env)

    def _judged(self, batch: list[Looked]) -> list[Looked]:
        return [each.judge(self.scoring) for each in batch]

    def _prepared(self, sample: Sample) -> Looked:
        try:
            return self._look(sample)
        except BadSample as error:
            return Looked([], dropped=error.reason, failed=True)

    def _look(self, sample: Sample) -> Looked:
        looked = Looked(sample.captions)
        if self.clip is not None:
            looked.vector = stored_embedding(sample, self.clip.identity, self.clip.dim)
        looked.dropped = self._size_objection(sample)
        if not looked.dropped:
            self._look_at_pixels(sample, looked)
        if not looked.dropped:
            looked.left_out = {
                place: why for place, each in enumerate(looked.captions) if (why := self._text_objection(each))
            }
        return looked

    def _text_objection(self, caption: Caption) -> str:
        return self.texts.objection(caption.text, caption.lang) if self.scoring.is_wanted(caption) else ""

    def _size_objection(self, sample: Sample) -> str:
        if not self.images.of_size:
            return ""
        from capivara_cli.shards.images import image_size

        return self.images.size_objection(*image_size(sample))

    def _look_at_pixels(self, sample: Sample, looked: Looked) -> None:
        """Decode the image where it has to be embedded, or is judged by its pixels, and else not."""
        embeds = self.clip is not None and looked.vector is None
        judges = self.images.min_entropy > 0
        if not (embeds or judges):
            return
        from capivara_cli.shards.images import decode_image

        image = decode_image(sample, self.clip.preprocess.draft if self.clip and not judges else 0)
        looked.dropped = self.images.pixel_objection(image)
        if self.clip is not None and embeds and not looked.dropped:
            looked.vector = self.clip.preprocess(image)
