"""libcurl, and what HTTP and FTP responses mean.

`curl_loop.py` runs requests, `response.py` reads their headers, `error_mapping.py` turns failures into
errors. Open `curl_loop.py` first.
"""
