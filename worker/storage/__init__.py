"""Where downloads are written: the `Destination` interface and part files, its implementation.

Also file names, free space, and the meaning of each file system error. Open `destination.py` first, then
`part_file.py`.
"""
