"""From outside data to event batches, one module per format.

Start at `formats.open_import`. Whatever the format, an import is an iterator of checked
batches with a report beside it (`contract`), and a bad line costs itself alone.
"""
