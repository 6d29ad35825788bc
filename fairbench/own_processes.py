"""Environment variables of the processes that `--processes` starts; known without torch and without click."""

#: The file through which they find each other.
RENDEZVOUS = "FAIRBENCH_RENDEZVOUS"
#: A pipe that ends when the process that watches them does.
LIFELINE = "FAIRBENCH_LIFELINE"
