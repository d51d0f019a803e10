"""From volumes to layers of a viewer and back; knows neither napari nor Qt."""
