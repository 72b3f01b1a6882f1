"""Output that is read in part, as by ``unireason ... | head -1``."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import argparse, sys
from unireason import cli

def run(args):
    sys.stdin.read()
    for n in range(int(args.lines)):
        print("a line of a table")
    return 0

def build_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("lines")
    parser.set_defaults(run=run)
    return parser

cli.build_parser = build_parser
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_reader_that_leaves_is_no_failure():
    for lines in ("1", "100000"):  # within the buffer, and beyond it
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, lines], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        process.stdin.close()
        told = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), told) == (0, b"")
