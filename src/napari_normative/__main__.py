"""``python -m napari_normative`` is the command line."""

from napari_normative.cli import main

if __name__ == "__main__":  # a process that torch or dask starts imports this again
    main()
