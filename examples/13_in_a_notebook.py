# %% [markdown]
"""A notebook that shows a viewer.

Open this file as a notebook (VS Code, Spyder, jupytext), or run it as a script. The window
lives beside the notebook; `nbscreenshot` puts its picture below the cell. Needs a display.

Makes: picture.png
"""

# %%
import argparse
from pathlib import Path

from napari.utils import nbscreenshot

import napari_normative as nn

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--out", type=Path, default=Path("output"))
out = parser.parse_known_args()[0].out  # a notebook's own arguments are no concern of ours

# %%
model = nn.load_model("brain-t1")
detection = model.detect(nn.make_sample("brain-with-lesion"))
viewer = nn.show(detection)

# %% From here on the window is driven by the notebook.
session = nn.open_session(viewer=viewer)
session.layout("planes")
session.go_to(detection.candidates[0])
nbscreenshot(viewer)

# %%
session.screenshots(out, ["planes.png"])[0].replace(out / "picture.png")
viewer.close()
