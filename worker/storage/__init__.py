"""The file system: part files, their final names, free space, and what each error means.

Open `part_file.py` first.
"""
