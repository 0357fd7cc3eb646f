"""Corpora that lie elsewhere: Lhotse cuts and Shar in S3, in Google's storage, or behind a web server.

In: s3://, gs://, http:// or https://, and the usual environment's credentials. Out: bytes, from a bounded cache where
they were read before. Start with store.py (one request), reader.py (cache and threads) and cuts.py (a corpus).
"""
