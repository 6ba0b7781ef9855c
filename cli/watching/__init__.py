"""`seen watch` on a terminal; begin with `watch`.

`keyboard` reads keys, `controls` is what they have chosen, `watch` shows the jobs and acts on them.
"""
