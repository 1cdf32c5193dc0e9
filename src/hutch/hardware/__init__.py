"""What this machine has: processor, memory, GPUs, NPUs. Reads what the system shows; imports no inference library."""
