"""Train models × data × seeds and compare what comes out: grid, runs, report."""
