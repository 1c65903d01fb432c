"""data-juicer's image_text_similarity_filter in a process of its own: it cannot be installed beside our versions."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.peers.apart import environment
from benchmarks.peers.environments import python_of
from benchmarks.peers.models import make_huggingface


class DataJuicer:
    """Its filter, ready to score; ``texts`` are those that its tokenizer has to know."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        folder.mkdir()
        (folder / "texts.json").write_text(json.dumps(texts))
        self._folder = folder
        command = [python_of("data-juicer"), "-m", __name__, str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment(),
        )  # fmt: skip
        self._answer()

    def __call__(self, photos: list[Any]) -> tuple[float, float]:
        """Seconds and CPU seconds of scoring all captions of the photos."""
        given = []
        for photo in photos:
            image = self._folder / f"{photo.name}.jpg"
            image.write_bytes(photo.data)
            given.append({"image": str(image), "captions": [text for text, _ in photo.captions]})
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(given) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        return answer["wall"], answer["cpu"]

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"data-juicer's process ended with {self._process.wait()}")


def serve(folder: Path) -> None:
    """Run by the interpreter that has py-data-juicer: a line of samples in, a line of seconds out."""
    make_huggingface(str(folder / "clip"), json.loads((folder / "texts.json").read_text()))
    from data_juicer.ops.filter.image_text_similarity_filter import ImageTextSimilarityFilter
    from data_juicer.utils.constant import Fields
    from data_juicer.utils.mm_utils import SpecialTokens

    filtering = ImageTextSimilarityFilter(hf_clip=str(folder / "clip"), min_score=-1.0, max_score=1.0)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        given = json.loads(line)
        batch = {
            "text": [
                f" {SpecialTokens.eoc} ".join(f"{SpecialTokens.image} {text}" for text in each["captions"])
                for each in given
            ],
            "images": [[each["image"]] * len(each["captions"]) for each in given],
            Fields.stats: [{} for _ in given],
        }
        wall, cpu = time.perf_counter(), time.process_time()
        filtering.compute_stats_batched(batch)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
