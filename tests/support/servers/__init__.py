"""Server processes: databases, nginx, FTP, proxies, and how a process is started and ended."""
