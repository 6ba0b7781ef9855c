"""Part files, file names, disk space, and errors of disks."""
