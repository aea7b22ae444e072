"""From the web to shards: LAION-Face's lists joined with LAION-400M's table, fetched, aligned, filtered, sharded.

Every step is a module of its own and writes a folder of its own (``gptface.data.web.step``); nothing is imported here.
"""
