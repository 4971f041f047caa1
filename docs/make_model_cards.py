"""Write docs/model-cards/<model>-<task>.md from the bundled models' own cards: `make model-cards`."""

from __future__ import annotations

from pathlib import Path

from leukoscope.models.bundle import bundled_names, find_model
from leukoscope.models.card_text import card_text

FOLDER = Path(__file__).parent / "model-cards"


def model_cards() -> dict[str, str]:
    """File name -> text, for every bundled model and task."""
    return {
        f"{name}-{task}.md": card_text(bundle.card)
        for name in bundled_names()
        for task, bundle in sorted(find_model(name).items())
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file_name, text in model_cards().items():
        (FOLDER / file_name).write_text(text, "utf-8")
        print(FOLDER / file_name)
