"""libcurl, and what HTTP and FTP responses mean.

Open `curl_loop.py` first.
"""
