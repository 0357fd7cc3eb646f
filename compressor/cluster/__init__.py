"""More than one process, more than one machine: ranks that agree, independent jobs, and batch systems.

In: what is to be done, and where. Out: what came of it, each job once.
Start with ranks.py (processes that train together), then executor.py (jobs that do not) and submit.py (SLURM).
"""
