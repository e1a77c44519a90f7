"""Makes docs/report.png, the README's picture of the HTML report, with a browser that is found as `chromium`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PAGE, PICTURE = Path("build/audit.html"), Path(__file__).parent / "report.png"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)
WIDTH, PARTS = 980, ((0, 1620), (1660, 3190))
"""The page's width, and from where to where its two parts are shown side by side."""


def main() -> int:
    """Takes the picture of the page that `make demo` leaves."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        size = f"--window-size={WIDTH},{PARTS[-1][1]}"
        profile = f"--user-data-dir={folder}/profile"
        page = f"file://{PAGE.resolve()}"
        subprocess.run(["chromium", *FLAGS.split(), profile, size, f"--screenshot={shot}", page], check=True)
        whole = Image.open(shot).convert("RGB")
    height = max(end - start for start, end in PARTS)
    picture = Image.new("RGB", (len(PARTS) * WIDTH, height), "white")
    for place, (start, end) in enumerate(PARTS):
        picture.paste(whole.crop((0, start, WIDTH, end)), (place * WIDTH, 0))
    picture.quantize(128, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
