"""The ``bwlm`` command line: parse, build a configuration, call the library once, print."""
