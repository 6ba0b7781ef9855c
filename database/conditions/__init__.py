"""What an error of a driver says: that the database cannot serve now, or that the statement was wrong.

`postgres.py` and `sqlite.py` have the tables, `verdicts.py` what follows from each entry. Open
`verdicts.py` first.
"""
