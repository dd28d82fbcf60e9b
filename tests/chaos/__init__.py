"""Everything is killed at random while agents work; then it is counted what really happened.

    python -m tests.chaos --actions 2000

starts an instance of its own, lets agents propose calls of every kind from many threads while its processes,
its Redis and its PostgreSQL are killed with -9, frozen and wiped, lets it settle, and prints a table. The
exit status says whether every promise held.
"""
