"""What an operator asks for once: check, topology, status, dead letters, the simulator. One file a command's family."""
