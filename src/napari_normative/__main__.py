"""``python -m napari_normative`` is the command ``napari-normative``."""

from napari_normative.cli import main

if __name__ == "__main__":
    main()
